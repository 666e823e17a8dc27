"""The service on Ray Serve: the same application in replicas, one for each GPU, on one machine or many."""
