"""What nets read: databases, HDF5 files, image lists, images and their transformation."""
