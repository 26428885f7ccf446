"""Which queue and which message priority a task's priority means."""

from app.models.task import TaskPriority

HIGH_QUEUE = "high_priority"
DEFAULT_QUEUE = "default"
LOW_QUEUE = "low_priority"

# The order in which a worker without `-Q` serves them.
QUEUES = (HIGH_QUEUE, DEFAULT_QUEUE, LOW_QUEUE)

QUEUE_OF = {
    TaskPriority.CRITICAL: HIGH_QUEUE,
    TaskPriority.HIGH: HIGH_QUEUE,
    TaskPriority.NORMAL: DEFAULT_QUEUE,
    TaskPriority.LOW: LOW_QUEUE,
}

# kombu on Redis: 0 is the highest, and what a message without a priority gets.
MESSAGE_PRIORITY = {TaskPriority.CRITICAL: 0, TaskPriority.HIGH: 3, TaskPriority.NORMAL: 6, TaskPriority.LOW: 9}
PRIORITY_STEPS = sorted(MESSAGE_PRIORITY.values())
