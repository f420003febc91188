"""What methods are built from; a part has no opinion about any method."""
