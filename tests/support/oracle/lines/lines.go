// Package lines answers every line of the standard input with a line on the standard output.
package lines

import (
	"bufio"
	"encoding/json"
	"io"
	"log"
	"os"
)

// Serve runs until the input ends.  Answers are flushed whenever no question is waiting, so that
// both a dialogue and a long batch are quick.
func Serve(answer func(question []byte) any) {
	input := bufio.NewReaderSize(os.Stdin, 1<<20)
	output := bufio.NewWriterSize(os.Stdout, 1<<20)
	encoder := json.NewEncoder(output)
	encoder.SetEscapeHTML(false)
	for {
		question, err := input.ReadBytes('\n')
		if err == io.EOF {
			break
		}
		if err != nil {
			log.Fatal(err)
		}
		if err := encoder.Encode(answer(question)); err != nil {
			log.Fatal(err)
		}
		if input.Buffered() == 0 {
			flush(output)
		}
	}
	flush(output)
}

func flush(output *bufio.Writer) {
	if err := output.Flush(); err != nil {
		log.Fatal(err)
	}
}
