"""Why a voxel got its HU: the source voxels and the training patients that it depends on."""
