// Package dokploytest is a Dokploy server for tests: it answers as a recorded
// one did, and surprises as that one does.
package dokploytest

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"envctl/providers/deploytest"
)

// Key is the API key that the server takes.
const Key = "dokploytest-key-4be1c09a"

// Server stands in for Dokploy. What it keeps outlives Stop and Start, as a
// database does; what waits in its queue does not.
type Server struct {
	addr string

	mu       sync.Mutex
	server   *http.Server
	quit     context.CancelFunc
	worked   chan struct{} // closed when the worker has ended
	wake     chan struct{}
	n        int
	projects []*project
	composes map[string]*compose
	rows     []*row // newest first
	queue    []*job // oldest first
	held     bool
	left     int // calls that the key has left; -1: no limit
	requests []string
	before   func(procedure string)
	after    func(procedure string)
	faults   map[string][]Fault
	failing  map[string]string
	engine   *deploytest.Engine
	runner   Runner
	emptied  []string // services that were deleted with their volumes
	build    time.Duration
}

// Runner is docker, for tests that want real containers. Up is docker compose up
// -d of a file and its .env under a project name, with what it said.
type Runner interface {
	Up(app, file, env string) (log string, ok bool)
	Stop(app string)
	Down(app string, volumes bool)
	List(app string) []Listed
	Logs(container, tail string) string
}

// Listed is a container in the words of docker ps.
type Listed struct{ ID, Name, State, Status string }

// Fault is what becomes of one call.
type Fault int

// The faults.
const (
	Lost      Fault = iota // not done, and the connection is cut
	DoneLost               // done, and the connection is cut
	Bad                    // not done: 502 and a page of a proxy
	DoneBad                // done: 502 and a page of a proxy
	Redirect               // 308 to another host
	Garbage                // 200 and not JSON
	Endless                // 200 and a body without end
	Forbidden              // 401 of a valid key that lacks access
	Silent                 // no answer until the caller gives up
)

type project struct {
	ID, Name     string
	Description  *string
	created      time.Time
	Environments []*environment
}

type environment struct {
	ID, Name, Env string
	Description   *string
	created       time.Time
	project       *project
	composes      []*compose
}

type compose struct {
	ID, Name, App, Status, Source, File string
	Description                         *string
	Env                                 *string
	EnvFile                             bool
	created                             time.Time
	environment                         *environment
	loaded                              bool
}

type row struct {
	ID, Title, Description, Status, Log string
	compose                             *compose
	created                             time.Time
	finished                            *time.Time
	job                                 *job
}

type job struct {
	id, title, description string
	compose                *compose
	queued                 time.Time
	active                 *time.Time
}

// New starts a server on a loopback address; it ends with the test.
func New(t testing.TB) *Server {
	t.Helper()
	s := &Server{
		composes: map[string]*compose{}, failing: map[string]string{}, engine: deploytest.NewEngine(),
		faults: map[string][]Fault{}, left: -1, build: 20 * time.Millisecond,
	}
	if err := s.start("127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Stop)
	return s
}

// URL is the address of its API.
func (s *Server) URL() string { return "http://" + s.addr + "/api" }

// Start listens again after Stop, on the same address.
func (s *Server) Start(t testing.TB) {
	t.Helper()
	for range 50 {
		if s.start(s.addr) == nil {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
	t.Fatal("the stand-in cannot listen again on " + s.addr)
}

func (s *Server) start(addr string) error {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return err
	}
	ctx, quit := context.WithCancel(context.Background())
	s.mu.Lock()
	defer s.mu.Unlock()
	s.addr, s.quit, s.wake, s.worked = l.Addr().String(), quit, make(chan struct{}, 1), make(chan struct{})
	s.server = &http.Server{Handler: http.HandlerFunc(s.serve), IdleTimeout: 5 * time.Second, ReadHeaderTimeout: 5 * time.Second}
	server, worked, wake := s.server, s.worked, s.wake
	go func() { _ = server.Serve(l) }() // ends with Stop
	go func() { defer close(worked); s.work(ctx, wake) }()
	return nil
}

// Stop ends the server at once, as SIGTERM does: the active job is cancelled,
// waiting ones are gone without a record.
func (s *Server) Stop() {
	s.mu.Lock()
	server, quit, worked := s.server, s.quit, s.worked
	s.server = nil
	s.mu.Unlock()
	if server == nil {
		return
	}
	_ = server.Close()
	quit()
	<-worked
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range s.rows {
		if r.Status == "running" {
			r.Status, r.compose.Status = "cancelled", "idle"
		}
	}
	s.queue = nil
}

// serve is one request, in the order in which a recorded server refuses.
func (s *Server) serve(w http.ResponseWriter, r *http.Request) {
	procedure, ok := strings.CutPrefix(r.URL.Path, "/api/")
	switch {
	case strings.Contains(r.URL.Path, "//") || strings.HasSuffix(r.URL.Path, "/") && r.URL.Path != "/":
		to := "/" + strings.Trim(strings.ReplaceAll(r.URL.Path, "//", "/"), "/")
		w.Header().Set("Location", to)
		w.WriteHeader(http.StatusPermanentRedirect)
		_, _ = io.WriteString(w, to)
		return
	case !ok:
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		w.WriteHeader(http.StatusNotFound)
		_, _ = io.WriteString(w, "<!DOCTYPE html><html></html>")
		return
	}
	body, _ := io.ReadAll(io.LimitReader(r.Body, 1<<20+1))
	s.mu.Lock()
	s.requests = append(s.requests, r.Method+" "+procedure)
	before, after := s.before, s.after
	var fault Fault = -1
	if f := s.faults[procedure]; len(f) > 0 {
		fault, s.faults[procedure] = f[0], f[1:]
	}
	s.mu.Unlock()
	if before != nil {
		before(procedure)
	}
	status, kind, text := 0, "", ""
	if fault != Lost && fault != Bad && fault != Silent && fault != Forbidden && fault != Redirect {
		status, kind, text = s.answer(r, procedure, body)
	}
	if after != nil {
		after(procedure)
	}
	switch fault {
	case Lost, DoneLost:
		panic(http.ErrAbortHandler)
	case Silent:
		<-r.Context().Done()
		return
	case Bad, DoneBad:
		status, kind, text = http.StatusBadGateway, "text/html", "<html>bad gateway</html>"
	case Redirect:
		w.Header().Set("Location", "https://elsewhere.invalid/api/"+procedure)
		status, text = http.StatusPermanentRedirect, ""
	case Garbage:
		status, text = http.StatusOK, "<html>welcome</html>"
	case Forbidden:
		status, kind, text = refuse(http.StatusUnauthorized, "UNAUTHORIZED", procedure, "You are not authorized to access this compose")
	case Endless:
		chunk := bytes.Repeat([]byte(" "), 1<<16)
		for range 17 << 4 {
			if _, err := w.Write(chunk); err != nil {
				return
			}
		}
		return
	default:
	}
	if kind != "" {
		w.Header().Set("Content-Type", kind)
	}
	w.Header().Set("Keep-Alive", "timeout=5")
	w.WriteHeader(status)
	_, _ = io.WriteString(w, text)
}

const (
	jsonKind  = "application/json"
	plainJSON = "application/json; charset=utf-8"
)

// answer returns status, content type and body.
func (s *Server) answer(r *http.Request, procedure string, body []byte) (int, string, string) {
	var in map[string]any
	if r.Method == http.MethodPost {
		var parsed any
		switch {
		case len(body) > 1<<20:
			return http.StatusRequestEntityTooLarge, "", "Body exceeded 1mb limit"
		case len(body) > 0 && json.Unmarshal(body, &parsed) != nil:
			return http.StatusBadRequest, "", "Invalid JSON"
		}
		in, _ = parsed.(map[string]any)
	} else {
		in = map[string]any{}
		for k, v := range r.URL.Query() {
			if v[0] != "" {
				in[k] = v[0]
			}
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if r.Header.Get("X-Api-Key") != Key || s.left == 0 {
		return http.StatusUnauthorized, plainJSON, `{"message":"Unauthorized"}`
	}
	if s.left > 0 {
		s.left--
	}
	h, ok := s.procedures()[r.Method+" "+procedure]
	if !ok {
		return http.StatusNotFound, jsonKind, `{"message":"Not found","code":"NOT_FOUND","data":{"code":"NOT_FOUND","httpStatus":404,"zodError":null}}`
	}
	if ct := r.Header.Get("Content-Type"); r.Method == http.MethodPost && !strings.HasPrefix(ct, jsonKind) {
		return refuse(http.StatusUnsupportedMediaType, "UNSUPPORTED_MEDIA_TYPE", procedure, `Unsupported content-type "`+ct)
	}
	return h(procedure, in)
}

func refuse(status int, code, procedure, message string) (int, string, string) {
	return status, jsonKind, encode(map[string]any{
		"message": message, "code": code,
		"data": map[string]any{"code": code, "httpStatus": status, "path": procedure, "zodError": nil},
	})
}

func missing(procedure, message string) (int, string, string) {
	return refuse(http.StatusNotFound, "NOT_FOUND", procedure, message)
}

// wrong is the answer of the input's validation.
func wrong(procedure, field, want, got string) (int, string, string) {
	m := fmt.Sprintf("Invalid input: expected %s, received %s", want, got)
	return http.StatusBadRequest, jsonKind, encode(map[string]any{
		"message": "Input validation failed", "code": "BAD_REQUEST",
		"data": map[string]any{
			"code": "BAD_REQUEST", "httpStatus": 400, "path": procedure,
			"zodError": map[string]any{"formErrors": []any{}, "fieldErrors": map[string]any{field: []any{m}}},
		},
		"issues": []any{map[string]any{"expected": want, "code": "invalid_type", "path": []any{field}, "message": m}},
	})
}

func fine(v any) (int, string, string) { return http.StatusOK, jsonKind, encode(v) }

func encode(v any) string {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		panic(err)
	}
	return strings.TrimSuffix(b.String(), "\n")
}
