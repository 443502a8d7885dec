"""The way to the Triton servers: which replica, one gRPC stream per turn, tensors as bytes."""
