"""What people can ask of the service, a file per subject."""
