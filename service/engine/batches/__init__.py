"""A batch on its way: assembled, in flight on a device, computed, and delivered to its clients."""
