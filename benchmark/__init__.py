"""The protocol: same data, same loop, same measure for every method."""
