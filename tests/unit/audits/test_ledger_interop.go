// Check notes, inclusion and consistency proofs with Go's own golang.org/x/mod/sumdb; see test_ledger_interop.py.
//
// One JSON document on standard input, one on standard output.
package main

import (
	"bufio"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"os"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

type record struct {
	Note  string
	Index int64
	Data  []byte
	Proof [][]byte
}

type growth struct {
	Old, New string
	Proof    [][]byte
}

type input struct {
	Key     string
	Records []record
	Growths []growth
	Sign    string
}

type output struct {
	Records []string
	Growths []string
	Key     string
	Note    string
}

func main() {
	var in input
	if err := json.NewDecoder(bufio.NewReader(os.Stdin)).Decode(&in); err != nil {
		panic(err)
	}
	verifier, err := note.NewVerifier(in.Key)
	if err != nil {
		panic(err)
	}
	var out output
	for _, r := range in.Records {
		out.Records = append(out.Records, said(checkRecord(verifier, r)))
	}
	for _, g := range in.Growths {
		out.Growths = append(out.Growths, said(checkGrowth(verifier, g)))
	}
	secret, public, err := note.GenerateKey(rand.Reader, "go.example/log")
	if err != nil {
		panic(err)
	}
	signer, err := note.NewSigner(secret)
	if err != nil {
		panic(err)
	}
	signed, err := note.Sign(&note.Note{Text: in.Sign}, signer)
	if err != nil {
		panic(err)
	}
	out.Key, out.Note = public, string(signed)
	if err := json.NewEncoder(os.Stdout).Encode(out); err != nil {
		panic(err)
	}
}

func said(err error) string {
	if err != nil {
		return err.Error()
	}
	return ""
}

func open(verifier note.Verifier, text string) (int64, tlog.Hash, error) {
	var root tlog.Hash
	opened, err := note.Open([]byte(text), note.VerifierList(verifier))
	if err != nil {
		return 0, root, err
	}
	lines := strings.Split(opened.Text, "\n")
	size, err := strconv.ParseInt(lines[1], 10, 64)
	if err != nil {
		return 0, root, err
	}
	raw, err := base64.StdEncoding.DecodeString(lines[2])
	copy(root[:], raw)
	return size, root, err
}

func hashes(raw [][]byte) []tlog.Hash {
	made := make([]tlog.Hash, len(raw))
	for at, item := range raw {
		copy(made[at][:], item)
	}
	return made
}

func checkRecord(verifier note.Verifier, r record) error {
	size, root, err := open(verifier, r.Note)
	if err != nil {
		return err
	}
	return tlog.CheckRecord(hashes(r.Proof), size, root, r.Index, tlog.RecordHash(r.Data))
}

func checkGrowth(verifier note.Verifier, g growth) error {
	oldSize, oldRoot, err := open(verifier, g.Old)
	if err != nil {
		return err
	}
	size, root, err := open(verifier, g.New)
	if err != nil {
		return err
	}
	return tlog.CheckTree(hashes(g.Proof), size, root, oldSize, oldRoot)
}
