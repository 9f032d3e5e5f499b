"""What AWS demands and moto does not: moto's ELBv2, made strict for Network Load Balancers.

| file | what |
| --- | --- |
| backend | puts the parts together, and into moto's place |
| answers | what requests carry beyond moto's reading, and pages |
| balancers, placement | load balancers; their subnets and addresses |
| groups | target groups |
| listeners, certificates | listeners |
| targets | targets and their health |
| tags, attributes | tags; attributes and their keys |
| security | security groups in use |
| errors | AWS's errors |

Error codes and limits are those of the ELBv2 API reference and its service model.
"""

from rules.backend import install

__all__ = ["install"]
