#!/bin/sh
# CNI plug-in, first in the chain: switches duplicate address detection off in a pod's network before it has an
# interface. With it every pod would start two seconds later.
case "$CNI_COMMAND" in
ADD)
    nsenter --net="$CNI_NETNS" sh -c '
        for scope in all default; do echo 0 >/proc/sys/net/ipv6/conf/$scope/accept_dad; done' >&2 || exit 1
    echo '{"cniVersion": "0.4.0", "interfaces": [], "ips": []}'
    ;;
VERSION)
    echo '{"cniVersion": "0.4.0", "supportedVersions": ["0.3.1", "0.4.0"]}'
    ;;
esac
