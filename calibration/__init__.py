"""INT8: calibration faces, statistics, equalisation, quantisation, and the quality gate."""
