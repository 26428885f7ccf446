"""The worker's parent process: its heartbeat, the losses of its children, the bodies to be stopped, the successes."""
