"""The text of ``kokofast -h``."""

from __future__ import annotations

HELP = """\
usage: kokofast COMMAND ...            many links: batch, destroy, watch, play, inspect, ...
       kokofast ENDPOINT ENDPOINT      one veth link
       kokofast ENDPOINT PARENT        one interface on a parent interface
       kokofast DELETE                 delete one of these

For the first see 'kokofast --help' and 'kokofast COMMAND --help'. The others are koko's command line:

ENDPOINT, with any number of ADDRESS/LENGTH (IPv4, IPv6) behind the LINK, the name of the interface to make:
  -c LINK[,...]              in this network namespace
  -n NAMESPACE,LINK[,...]    in the named network namespace (ip netns), or in that of a file: -n /run/netns/x,LINK
  -a FILE,LINK[,...]         in the network namespace of a file
  -p PID,LINK[,...]          in the network namespace of a process
  -d CONTAINER,LINK[,...]    in a Docker container
  -e CONTAINER,LINK[,...]    in a CRI container (CRI-O, containerd): id, name, or namespace/pod/name
One of the addresses may be mirror:DIRECTION:INTERFACE or mirror:DIRECTION,INTERFACE: the traffic of that interface is
copied to the new one. DIRECTION is ingress, egress or both.

PARENT, an interface of this network namespace:
  -x PARENT,REMOTE,VNI[,port=PORT][,mtu=MTU]   vxlan to a remote host (UDP port 4789 unless given)
  -V PARENT,ID                                 vlan
  -M PARENT,MODE                               macvlan: default, private, vepa, bridge, passthru
  -X is another name for -x: koko's documentation has both, koko itself has no -X.

DELETE, which also deletes the other end of a veth link:
  -C LINK   -N NAMESPACE,LINK   -A FILE,LINK   -P PID,LINK   -D CONTAINER,LINK   -E CONTAINER,LINK
Only interfaces that kokofast made are deleted; for others there is 'ip link del'.

  -h  this help        -v  the version

The links belong to the lab "koko": see 'kokofast inspect koko', 'kokofast destroy --name koko'.
exit codes: 0 done; 1 failed, and everything was taken back; 2 usage, or it cannot be done and nothing was touched;
3 failed, and what could not be taken back is listed
"""
