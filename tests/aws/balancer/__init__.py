"""A load balancer that carries traffic for the Network Load Balancers that moto only keeps records of.

| file | what |
| --- | --- |
| model.py | load balancers, listeners and target groups, as far as traffic is concerned |
| read.py | reads them from the EC2 and ELBv2 API |
| places.py | which load balancer has which addresses |
| rules.py | connections whose client address is kept, and UDP: rules of nf_tables |
| proxy.py | everything else: HAProxy |
| checks.py | health checks |
| carry.py | the program: reads, forwards, reports |

It runs in the network namespace of the lab's router. Security groups and zones mean nothing to it: every listener is
open to all, and every address of a load balancer forwards to the healthy targets of all zones.
"""
