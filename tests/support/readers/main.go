// Command readers lets the libraries that node distributions read their files with read them.
//
// `readers rancher FILE IMAGE` looks an image up as k3s and RKE2 do, and prints its digest.
// `readers talos FILE` applies a patch to a machine config, and prints the part that we care for.
package main

import (
	"encoding/json"
	"fmt"
	"log"
	"os"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/rancher/wharfie/pkg/registries"
	"github.com/siderolabs/talos/pkg/machinery/config/configpatcher"
)

const machineConfig = `
version: v1alpha1
machine:
  type: worker
  registries:
    mirrors:
      registry.example.net:
        endpoints: [https://mirror.example.net]
`

func main() {
	log.SetFlags(0)
	var err error
	switch os.Args[1] {
	case "rancher":
		err = rancher(os.Args[2], os.Args[3])
	case "talos":
		err = talos(os.Args[2])
	default:
		err = fmt.Errorf("unknown: %s", os.Args[1])
	}
	if err != nil {
		log.Fatal(err)
	}
}

func rancher(file, image string) error {
	if _, err := os.Stat(file); err != nil {
		return err // It would be taken for an empty one.
	}
	found, err := registries.GetPrivateRegistries(file)
	if err != nil {
		return err
	}
	reference, err := name.ParseReference(image)
	if err != nil {
		return err
	}
	pulled, err := found.Image(reference)
	if err != nil {
		return err
	}
	digest, err := pulled.Digest()
	if err != nil {
		return err
	}
	fmt.Println(digest)
	return nil
}

func talos(file string) error {
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	patch, err := configpatcher.LoadPatch(text)
	if err != nil {
		return err
	}
	output, err := configpatcher.Apply(
		configpatcher.WithBytes([]byte(machineConfig)), []configpatcher.Patch{patch},
	)
	if err != nil {
		return err
	}
	merged, err := output.Config()
	if err != nil {
		return err
	}
	type mirror struct {
		Endpoints    []string
		OverridePath bool
		SkipFallback bool
	}
	mirrors := map[string]mirror{}
	for host, one := range merged.Machine().Registries().Mirrors() {
		endpoints := []string{}
		override := true
		for _, endpoint := range one.Endpoints() {
			endpoints = append(endpoints, endpoint.Endpoint())
			override = override && endpoint.OverridePath()
		}
		mirrors[host] = mirror{endpoints, override, one.SkipFallback()}
	}
	authorities := map[string]string{}
	for host, one := range merged.Machine().Registries().Config() {
		authorities[host] = string(one.TLS().CA())
	}
	return json.NewEncoder(os.Stdout).Encode(map[string]any{
		"kubelet":     merged.Machine().Kubelet().ExtraConfig(),
		"mirrors":     mirrors,
		"authorities": authorities,
	})
}
