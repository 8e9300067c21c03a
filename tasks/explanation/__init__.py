"""Why a voxel got its HU: the source voxels that it rests on, and the training patients behind."""
