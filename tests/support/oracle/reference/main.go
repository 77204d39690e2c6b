// Command reference tells how the kubelet reads image references.
//
// A question is a JSON string.  The answer is a JSON array: domain, path, tag and digest of what
// ParseNormalizedNamed returns, or its error as the only element.
package main

import (
	_ "crypto/sha256" // go-digest knows the algorithms that a program has linked in: all of them,
	_ "crypto/sha512" // in a program that speaks TLS, as the kubelet and the container runtimes do.
	"encoding/json"
	"log"

	"github.com/distribution/reference"

	"oracle/lines"
)

func main() {
	lines.Serve(func(question []byte) any {
		var text string
		if err := json.Unmarshal(question, &text); err != nil {
			log.Fatal(err)
		}
		return parse(text)
	})
}

func parse(text string) []string {
	named, err := reference.ParseNormalizedNamed(text)
	if err != nil {
		return []string{err.Error()}
	}
	parts := []string{reference.Domain(named), reference.Path(named), "", ""}
	if tagged, ok := named.(reference.Tagged); ok {
		parts[2] = tagged.Tag()
	}
	if digested, ok := named.(reference.Digested); ok {
		parts[3] = digested.Digest().String()
	}
	return parts
}
