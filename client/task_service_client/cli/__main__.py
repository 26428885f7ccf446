"""`python -m task_service_client.cli`."""

from task_service_client.cli import main

if __name__ == "__main__":
    main()
