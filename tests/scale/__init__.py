"""A linear layer of many labels; labels and batch over devices and processes."""
