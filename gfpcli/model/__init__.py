"""Pure PyTorch networks; attribute names inside are checkpoint keys."""
