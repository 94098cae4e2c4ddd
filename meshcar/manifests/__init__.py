"""Text in, text out: iptables and Kubernetes."""
