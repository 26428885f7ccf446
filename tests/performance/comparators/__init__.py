"""What the service is compared with, each as small as one would write it, none of it importing the service."""
