"""The runtime's commands, `dmd-enroll` and `dmd-restore`."""
