"""Files made to harm their reader: each builder writes one below a folder and returns its path."""

from tests.data.hostile import archives, dicom, images, zarrs

BUILDERS = {
    f"{module.__name__.rpartition('.')[2]}: {name.replace('_', ' ')}": builder
    for module in (images, archives, dicom, zarrs)
    for name, builder in module.BUILDERS.items()
}
"""Sixty and more, by what they try."""
