// Command dns is CoreDNS with the plugins that a cluster's names need, and none of the others, which bring the clients
// of three clouds.
package main

import (
	"github.com/coredns/coredns/core/dnsserver"
	"github.com/coredns/coredns/coremain"
	_ "github.com/coredns/coredns/plugin/bind"
	_ "github.com/coredns/coredns/plugin/cache"
	_ "github.com/coredns/coredns/plugin/errors"
	_ "github.com/coredns/coredns/plugin/hosts"
	_ "github.com/coredns/coredns/plugin/kubernetes"
	_ "github.com/coredns/coredns/plugin/loadbalance"
)

func main() {
	// Every query passes them in this order.
	dnsserver.Directives = []string{"bind", "errors", "loadbalance", "cache", "hosts", "kubernetes"}
	coremain.Run()
}
