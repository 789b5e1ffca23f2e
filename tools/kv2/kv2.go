// Package kv2 serves Vault's own KV version 2 engine over HTTP in this
// process: as much of a server as a store needs, in a second.
package kv2

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/hashicorp/go-hclog"
	kv "github.com/hashicorp/vault-plugin-secrets-kv"
	"github.com/hashicorp/vault/sdk/logical"
)

// Server is one engine at secret/, with one token that may do everything.
type Server struct {
	token   string
	engine  logical.Backend
	storage logical.Storage
}

// New starts an engine that keeps everything in memory.
func New(ctx context.Context, token string) (*Server, error) {
	storage := &logical.InmemStorage{}
	config := &logical.BackendConfig{
		Logger:      hclog.NewNullLogger(),
		System:      &logical.StaticSystemView{DefaultLeaseTTLVal: time.Hour, MaxLeaseTTLVal: time.Hour},
		StorageView: storage,
		BackendUUID: "test",
		Config:      map[string]string{"version": "2"},
	}
	engine, err := kv.Factory(ctx, config)
	if err != nil {
		return nil, err
	}
	if err := engine.Initialize(ctx, &logical.InitializationRequest{Storage: storage}); err != nil {
		return nil, err
	}
	s := &Server{token: token, engine: engine, storage: storage}
	// The engine refuses all requests until it has prepared its storage.
	for {
		resp, err := engine.HandleRequest(ctx, &logical.Request{Operation: logical.ReadOperation, Path: "config", Storage: storage})
		if err == nil && (resp == nil || !resp.IsError()) {
			return s, nil
		}
		select {
		case <-ctx.Done():
			return nil, errors.Join(ctx.Err(), err)
		case <-time.After(time.Millisecond):
		}
	}
}

// Close ends the engine.
func (s *Server) Close(ctx context.Context) { s.engine.Cleanup(ctx) }

func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	path, ok := strings.CutPrefix(r.URL.Path, "/v1/")
	if !ok {
		fail(w, http.StatusNotFound, "no handler")
		return
	}
	if r.Header.Get("X-Vault-Token") != s.token {
		fail(w, http.StatusForbidden, "permission denied", "invalid token")
		return
	}
	switch path {
	case "auth/token/lookup-self":
		reply(w, http.StatusOK, map[string]any{"display_name": "root", "policies": []string{"root"}, "ttl": 0})
	case "sys/internal/ui/mounts/secret":
		reply(w, http.StatusOK, map[string]any{"type": "kv", "path": "secret/", "options": map[string]string{"version": "2"}})
	default:
		in, ok := strings.CutPrefix(path, "secret/")
		if !ok {
			fail(w, http.StatusNotFound, "no handler for route \""+path+"\". route entry not found.")
			return
		}
		s.serve(w, r, in)
	}
}

func (s *Server) serve(w http.ResponseWriter, r *http.Request, path string) {
	req := &logical.Request{ID: "test", Path: path, Storage: s.storage, DisplayName: "token", Data: map[string]any{}}
	switch r.Method {
	case http.MethodGet:
		req.Operation = logical.ReadOperation
		if r.URL.Query().Get("list") == "true" {
			req.Operation = logical.ListOperation
			req.Path = strings.TrimSuffix(path, "/") + "/"
		} else if v := r.URL.Query().Get("version"); v != "" {
			req.Data["version"] = v
		}
	case http.MethodPut, http.MethodPost:
		req.Operation = logical.UpdateOperation
	case http.MethodPatch:
		if r.Header.Get("Content-Type") != "application/merge-patch+json" {
			fail(w, http.StatusUnsupportedMediaType, "PATCH requires Content-Type application/merge-patch+json")
			return
		}
		req.Operation = logical.PatchOperation
	case http.MethodDelete:
		req.Operation = logical.DeleteOperation
	default:
		fail(w, http.StatusMethodNotAllowed, "unsupported operation")
		return
	}
	if r.Method != http.MethodGet && r.Method != http.MethodDelete {
		dec := json.NewDecoder(http.MaxBytesReader(w, r.Body, 32<<20))
		dec.UseNumber()
		if err := dec.Decode(&req.Data); err != nil {
			fail(w, http.StatusBadRequest, "failed to parse JSON input")
			return
		}
	}
	if req.Operation == logical.UpdateOperation {
		if known, exists, err := s.engine.HandleExistenceCheck(r.Context(), req); err == nil && known && !exists {
			req.Operation = logical.CreateOperation
		}
	}
	resp, err := s.engine.HandleRequest(r.Context(), req)
	respond(w, req, resp, err)
}

// respond gives the engine's answer the shape that Vault's HTTP layer gives it.
func respond(w http.ResponseWriter, req *logical.Request, resp *logical.Response, err error) {
	status, err := logical.RespondErrorCommon(req, resp, err)
	if err != nil {
		texts := []string{err.Error()}
		if resp != nil && resp.IsError() {
			texts = []string{resp.Error().Error()}
		}
		fail(w, status, texts...)
		return
	}
	if status == http.StatusNotFound {
		fail(w, status)
		return
	}
	if resp == nil {
		w.WriteHeader(http.StatusNoContent)
		return
	}
	if code, ok := resp.Data[logical.HTTPStatusCode].(int); ok {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(code)
		switch body := resp.Data[logical.HTTPRawBody].(type) {
		case []byte:
			_, _ = w.Write(body) // the client is gone otherwise
		case string:
			_, _ = w.Write([]byte(body))
		}
		return
	}
	reply(w, http.StatusOK, resp.Data)
}

func reply(w http.ResponseWriter, status int, data map[string]any) {
	write(w, status, map[string]any{"request_id": "test", "data": data, "mount_type": "kv"})
}

func fail(w http.ResponseWriter, status int, texts ...string) {
	if texts == nil {
		texts = []string{}
	}
	write(w, status, map[string]any{"errors": texts})
}

func write(w http.ResponseWriter, status int, body any) {
	var buf bytes.Buffer
	if err := json.NewEncoder(&buf).Encode(body); err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(buf.Bytes()) // the client is gone otherwise
}
