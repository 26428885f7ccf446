"""What operators see and steer: queues and workers."""
