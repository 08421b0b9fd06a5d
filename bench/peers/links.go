// links makes or deletes veth links by github.com/vishvananda/netlink, in one process.
//
//	links [-goroutines N] up|destroy FILE    FILE: NAMESPACE INTERFACE ADDRESS NAMESPACE INTERFACE ADDRESS, a link a line
//
// Written as the library wants to be used: a handle a namespace, links made in place (PeerNamespace), the first end up
// from the start. Each goroutine has neighbouring links, so that a handle serves the link before and the one after.
package main

import (
	"flag"
	"fmt"
	"net"
	"os"
	"strings"
	"sync"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
)

type end struct{ namespace, name, address string }
type link struct{ a, b end }

// A place is a namespace that is open.
type place struct {
	fd     netns.NsHandle
	handle *netlink.Handle
}

const openAtOnce = 64

type places map[string]place

func (open places) at(namespace string) (place, error) {
	if found, ok := open[namespace]; ok {
		return found, nil
	}
	fd, err := netns.GetFromName(namespace)
	if err != nil {
		return place{}, err
	}
	handle, err := netlink.NewHandleAt(fd, 0)
	if err != nil {
		return place{}, err
	}
	open[namespace] = place{fd, handle}
	return open[namespace], nil
}

func (open places) close() {
	for namespace, one := range open {
		one.handle.Delete()
		one.fd.Close()
		delete(open, namespace)
	}
}

func addressOn(in place, on netlink.Link, text string) error {
	address, err := netlink.ParseAddr(text)
	if err != nil {
		return err
	}
	return in.handle.AddrAdd(on, address)
}

func up(open places, one link) error {
	a, err := open.at(one.a.namespace)
	if err != nil {
		return err
	}
	b, err := open.at(one.b.namespace)
	if err != nil {
		return err
	}
	attributes := netlink.NewLinkAttrs()
	attributes.Name = one.a.name
	attributes.Flags = net.FlagUp
	attributes.NumTxQueues, attributes.NumRxQueues = 1, 1
	first := &netlink.Veth{LinkAttrs: attributes, PeerName: one.b.name, PeerNamespace: netlink.NsFd(b.fd)}
	if err := a.handle.LinkAdd(first); err != nil {
		return err
	}
	if err := addressOn(a, first, one.a.address); err != nil {
		return err
	}
	second, err := b.handle.LinkByName(one.b.name)
	if err != nil {
		return err
	}
	if err := b.handle.LinkSetUp(second); err != nil {
		return err
	}
	return addressOn(b, second, one.b.address)
}

func destroy(open places, one link) error {
	a, err := open.at(one.a.namespace)
	if err != nil {
		return err
	}
	found, err := a.handle.LinkByName(one.a.name)
	if err != nil {
		return err
	}
	return a.handle.LinkDel(found)
}

func read(file string) ([]link, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var links []link
	for _, line := range strings.Split(strings.TrimSpace(string(text)), "\n") {
		w := strings.Fields(line)
		if len(w) != 6 {
			return nil, fmt.Errorf("%s: %q is not a link", file, line)
		}
		links = append(links, link{end{w[0], w[1], w[2]}, end{w[3], w[4], w[5]}})
	}
	return links, nil
}

func main() {
	goroutines := flag.Int("goroutines", 1, "how many work at once")
	flag.Parse()
	job := map[string]func(places, link) error{"up": up, "destroy": destroy}[flag.Arg(0)]
	if job == nil || flag.NArg() != 2 || *goroutines < 1 {
		flag.Usage()
		os.Exit(2)
	}
	links, err := read(flag.Arg(1))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	var all sync.WaitGroup
	for g := 0; g < *goroutines; g++ {
		mine := links[len(links)*g / *goroutines : len(links)*(g+1) / *goroutines]
		all.Add(1)
		go func() {
			defer all.Done()
			open := places{}
			for _, one := range mine {
				if err := job(open, one); err != nil {
					fmt.Fprintf(os.Stderr, "%v: %v\n", one, err)
					os.Exit(1)
				}
				if len(open) > openAtOnce {
					open.close()
				}
			}
			open.close()
		}()
	}
	all.Wait()
}
