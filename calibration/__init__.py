"""INT8: calibration faces, statistics, equalisation, quantisation, and the gate that judges it."""
