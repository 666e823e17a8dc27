"""The routes of the service, one file each."""
