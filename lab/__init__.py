"""The lab: base image, program mirror, engine checks and the hosts themselves."""
