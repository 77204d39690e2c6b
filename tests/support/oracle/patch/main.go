// Command patch applies JSON patches as kube-apiserver does.
//
// A question is {"object": ..., "patch": base64}, as in an AdmissionReview and its response.  The
// answer is {"object": ...}, or {"error": "..."} where the API server would refuse the object.
// The calls are those of callAttrMutatingHook in
// k8s.io/apiserver/pkg/admission/plugin/webhook/mutating/dispatcher.go.
package main

import (
	"encoding/json"
	"log"

	jsonpatch "gopkg.in/evanphx/json-patch.v4"

	"oracle/lines"
)

type question struct {
	Object json.RawMessage `json:"object"`
	Patch  []byte          `json:"patch"`
}

type answer struct {
	Object json.RawMessage `json:"object,omitempty"`
	Error  string          `json:"error,omitempty"`
}

func main() {
	lines.Serve(func(line []byte) any {
		var asked question
		if err := json.Unmarshal(line, &asked); err != nil {
			log.Fatal(err)
		}
		patched, err := apply(asked)
		if err != nil {
			return answer{Error: err.Error()}
		}
		return answer{Object: patched}
	})
}

func apply(asked question) (json.RawMessage, error) {
	if len(asked.Patch) == 0 {
		return asked.Object, nil
	}
	patch, err := jsonpatch.DecodePatch(asked.Patch)
	if err != nil {
		return nil, err
	}
	if len(patch) == 0 {
		return asked.Object, nil
	}
	return patch.Apply(asked.Object)
}
