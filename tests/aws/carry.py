"""Starts the load balancer (see balancer/)."""

from balancer.carry import main

if __name__ == "__main__":
    main()
