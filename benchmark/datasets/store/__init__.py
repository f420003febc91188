"""The store of a dataset: all images and masks in two files of bytes, decoded and checked once, memory-mapped since.

A store is a folder of three files: `index.json`, `images.bin` (uint8, three bytes per pixel, image after image) and
`masks.bin` (one number per pixel: uint8, or uint16 where masks number objects; empty where there is no mask).
`bench data show` adds `contact_sheet.png`. A folder with any other file is neither replaced nor deleted.

The index has a hash of every image and mask, compared when it is first read, and a hash of itself, compared when the
store is opened. Runs at a reduced resolution use a store of the same form in a folder inside it, such as `.scale-0.5`.
"""

from benchmark.datasets.store.collection import OF_USERS, add, open_store
from benchmark.datasets.store.describe import summary
from benchmark.datasets.store.index import NAME
from benchmark.datasets.store.resolution import at_resolution, largest_crop, scale_of
from benchmark.datasets.store.store import Store

__all__ = ["NAME", "OF_USERS", "Store", "add", "at_resolution", "largest_crop", "open_store", "scale_of", "summary"]
