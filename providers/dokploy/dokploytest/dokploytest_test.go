package dokploytest_test

import (
	"encoding/json"
	"io"
	"net/http"
	"reflect"
	"strings"
	"testing"
	"time"

	"envctl/providers/dokploy/dokploytest"
)

// The stand-in answers as the recorded server did, byte for byte where nothing
// but ids and times differ.
func TestRecordedAnswers(t *testing.T) {
	t.Parallel()
	s := dokploytest.New(t)
	id := s.Compose("demo", "staging", "web", "services:\n  app:\n    env_file: [.env]\n")
	const validation = `{"message":"Input validation failed","code":"BAD_REQUEST","data":{"code":"BAD_REQUEST","httpStatus":400,"path":"PATH","zodError":{"formErrors":[],"fieldErrors":{"FIELD":["Invalid input: expected WANT, received GOT"]}}},"issues":[{"expected":"WANT","code":"invalid_type","path":["FIELD"],"message":"Invalid input: expected WANT, received GOT"}]}`
	invalid := func(path, field, want, got string) string {
		return strings.NewReplacer("PATH", path, "FIELD", field, "WANT", want, "GOT", got).Replace(validation)
	}
	notFound := func(message, path string) string {
		return `{"message":"` + message + `","code":"NOT_FOUND","data":{"code":"NOT_FOUND","httpStatus":404,"path":"` + path + `","zodError":null}}`
	}
	const nothing = `{"message":"Not found","code":"NOT_FOUND","data":{"code":"NOT_FOUND","httpStatus":404,"zodError":null}}`
	for _, c := range []struct {
		method, path, key, contentType, body string
		status                               int
		want                                 string // "": not compared
	}{
		{"GET", "/api/project.all", "", "", "", 401, `{"message":"Unauthorized"}`},
		{"GET", "/api/project.all", "wrongkey", "", "", 401, `{"message":"Unauthorized"}`},
		{"GET", "/api/compose.one?composeId=does-not-exist", dokploytest.Key, "", "", 404, notFound("Compose not found", "compose.one")},
		{"GET", "/api/compose.one?composeId=", dokploytest.Key, "", "", 400, invalid("compose.one", "composeId", "string", "undefined")},
		{"GET", "/api/compose.one", dokploytest.Key, "", "", 400, invalid("compose.one", "composeId", "string", "undefined")},
		{"POST", "/api/compose.one", dokploytest.Key, "application/json", `{"composeId":"x"}`, 404, nothing},
		{"GET", "/api/compose.nosuch", dokploytest.Key, "", "", 404, nothing},
		{"PUT", "/api/compose.update", dokploytest.Key, "application/json", `{}`, 404, nothing},
		{"POST", "/api/compose.deploy", dokploytest.Key, "application/json", `{"composeId":"does-not-exist"}`, 404, notFound("Compose not found", "compose.deploy")},
		{"POST", "/api/compose.update", dokploytest.Key, "application/json", `{"composeId":"does-not-exist","env":"A=1"}`, 200, "EMPTY"},
		{"POST", "/api/compose.saveEnvironment", dokploytest.Key, "application/json", `{"composeId":"does-not-exist","env":"A=1"}`, 400, `{"message":"Error adding environment variables","code":"BAD_REQUEST","data":{"code":"BAD_REQUEST","httpStatus":400,"path":"compose.saveEnvironment","zodError":null}}`},
		{"GET", "/api/deployment.allByCompose?composeId=does-not-exist", dokploytest.Key, "", "", 200, `[]`},
		{"GET", "/api/deployment.readLogs?deploymentId=does-not-exist", dokploytest.Key, "", "", 404, notFound("Deployment not found", "deployment.readLogs")},
		{"POST", "/api/compose.update", dokploytest.Key, "application/json", `{not json`, 400, "TEXT Invalid JSON"},
		{"POST", "/api/compose.update", "wrong", "application/json", `{not json`, 400, "TEXT Invalid JSON"},
		{"POST", "/api/compose.update", "wrong", "application/json", `{"composeId":"x"}`, 401, `{"message":"Unauthorized"}`},
		{"POST", "/api/compose.update", dokploytest.Key, "application/json", ``, 400, invalid("compose.update", "composeId", "string", "undefined")},
		{"POST", "/api/compose.update", dokploytest.Key, "application/json", `[]`, 400, invalid("compose.update", "composeId", "string", "undefined")},
		{"POST", "/api/compose.update", dokploytest.Key, "application/json", `{"composeId":"` + id + `","env":5}`, 400, invalid("compose.update", "env", "string", "number")},
		{"POST", "/api/compose.update", dokploytest.Key, "text/plain", `{"composeId":"x"}`, 415, `{"message":"Unsupported content-type \"text/plain","code":"UNSUPPORTED_MEDIA_TYPE","data":{"code":"UNSUPPORTED_MEDIA_TYPE","httpStatus":415,"path":"compose.update","zodError":null}}`},
		{"POST", "/api/compose.update", dokploytest.Key, "application/json", `{"composeId":"` + id + `","env":"` + strings.Repeat("x", 1<<20) + `"}`, 413, "TEXT Body exceeded 1mb limit"},
		{"POST", "/api/compose.saveEnvironment", dokploytest.Key, "application/json", `{"composeId":"` + id + `","env":"A=1\r\n"}`, 200, `true`},
		{"POST", "/api/compose.deploy", dokploytest.Key, "application/json", `{"composeId":"` + id + `","title":"from api","description":"desc"}`, 200, `{"success":true,"message":"Deployment queued","composeId":"` + id + `"}`},
		{"GET", "/api/compose.loadServices?composeId=" + id, dokploytest.Key, "", "", 200, `["app"]`},
		{"GET", "/api/docker.getContainersByAppNameMatch?appName=no-such-app&appType=docker-compose", dokploytest.Key, "", "", 200, `[]`},
		{"GET", "/api/project.all/", dokploytest.Key, "", "", 308, "TEXT /api/project.all"},
		{"GET", "//api/project.all", dokploytest.Key, "", "", 308, "TEXT /api/project.all"},
		{"GET", "/project.all", dokploytest.Key, "", "", 404, "TEXT <!DOCTYPE html><html></html>"},
	} {
		status, header, body := call(t, s, c.method, c.path, c.key, c.contentType, c.body)
		if status != c.status {
			t.Errorf("%s %s: %d, want %d: %s", c.method, c.path, status, c.status, body)
		}
		text, isText := strings.CutPrefix(c.want, "TEXT ")
		switch {
		case c.want == "EMPTY" && body != "", isText && body != text, c.want != "EMPTY" && !isText && !same(t, body, c.want):
			t.Errorf("%s %s:\n got %s\nwant %s", c.method, c.path, body, c.want)
		case status == 200 && header.Get("Keep-Alive") != "timeout=5":
			t.Errorf("%s: %v", c.path, header)
		}
	}
	if got := s.Text(id); got != "A=1\r\n" {
		t.Errorf("stored %q", got)
	}
}

// The keys of what it answers are the recorded ones.
func TestRecordedShapes(t *testing.T) {
	t.Parallel()
	s := dokploytest.New(t)
	id := s.Compose("demo", "staging", "web", "services:\n  app:\n    env_file: [.env]\n")
	s.SetText(id, "FOO=hello\nBAD=${{X}}\n")
	deploy := func(title string) {
		call(t, s, "POST", "/api/compose.deploy", dokploytest.Key, "application/json", `{"composeId":"`+id+`","title":"`+title+`"}`)
	}
	rows := func() []map[string]any { return list(t, s, "/api/deployment.allByCompose?composeId="+id) }
	s.Hold(true)
	deploy("A")
	deploy("B")
	queue := list(t, s, "/api/deployment.queueList")
	if len(queue) != 2 || queue[0]["state"] != "waiting" || queue[1]["data"].(map[string]any)["titleLog"] != "A" || len(rows()) != 0 {
		t.Errorf("%v", queue)
	}
	s.Hold(false)
	for end := time.Now().Add(5 * time.Second); s.Waiting() > 0 && time.Now().Before(end); {
		time.Sleep(10 * time.Millisecond)
	}
	failed := rows()
	if len(failed) != 2 || failed[0]["status"] != "error" || failed[0]["title"] != "B" || failed[0]["errorMessage"] != nil {
		t.Errorf("%v", failed)
	}
	_, _, log := call(t, s, "GET", "/api/deployment.readLogs?deploymentId="+failed[0]["deploymentId"].(string)+"&tail=1", dokploytest.Key, "", "")
	if log != `"Error occurred ❌, check the logs for details.\n"` {
		t.Errorf("%q", log)
	}
	keys := func(m map[string]any, want string) {
		t.Helper()
		for _, k := range strings.Split(want, ", ") {
			if _, ok := m[k]; !ok {
				t.Errorf("no %s in %v", k, m)
			}
		}
		if n := len(strings.Split(want, ", ")); len(m) != n {
			t.Errorf("%d keys, recorded %d", len(m), n)
		}
	}
	keys(failed[0], "deploymentId, title, description, status, logPath, pid, applicationId, composeId, serverId, isPreviewDeployment, previewDeploymentId, createdAt, startedAt, finishedAt, errorMessage, scheduleId, backupId, rollbackId, volumeBackupId, buildServerId")
	_, _, body := call(t, s, "GET", "/api/compose.one?composeId="+id, dokploytest.Key, "", "")
	var one map[string]any
	if err := json.Unmarshal([]byte(body), &one); err != nil {
		t.Fatal(err)
	}
	keys(one, "composeId, name, appName, description, env, composeFile, refreshToken, sourceType, composeType, repository, owner, branch, autoDeploy, gitlabProjectId, gitlabRepository, gitlabOwner, gitlabBranch, gitlabPathNamespace, bitbucketRepository, bitbucketRepositorySlug, bitbucketOwner, bitbucketBranch, giteaRepository, giteaOwner, giteaBranch, customGitUrl, customGitBranch, customGitSSHKeyId, command, createEnvFile, enableSubmodules, composePath, suffix, randomize, isolatedDeployment, isolatedDeploymentsVolume, triggerType, composeStatus, icon, environmentId, createdAt, watchPaths, githubId, gitlabId, bitbucketId, giteaId, serverId, serviceNetworks, environment, deployments, mounts, domains, github, gitlab, bitbucket, gitea, server, backups, hasGitProviderAccess, unauthorizedProvider")
	keys(list(t, s, "/api/project.all")[0], "projectId, name, description, createdAt, organizationId, env, environments, projectTags")

	s.Hold(true)
	deploy("C")
	s.Stop()
	s.Start(t)
	if len(list(t, s, "/api/deployment.queueList")) != 0 || len(rows()) != 2 {
		t.Error("a waiting job outlived a restart")
	}
	s.Allow(1)
	call(t, s, "GET", "/api/project.all", dokploytest.Key, "", "")
	if status, _, _ := call(t, s, "GET", "/api/project.all", dokploytest.Key, "", ""); status != 401 {
		t.Error("the rate limit is not kept:", status)
	}
}

func call(t *testing.T, s *dokploytest.Server, method, path, key, contentType, body string) (int, http.Header, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, strings.TrimSuffix(s.URL(), "/api")+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if key != "" {
		req.Header.Set("x-api-key", key)
	}
	if contentType != "" {
		req.Header.Set("Content-Type", contentType)
	}
	client := http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	res, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, res.Header, string(b)
}

func list(t *testing.T, s *dokploytest.Server, path string) []map[string]any {
	t.Helper()
	_, _, body := call(t, s, "GET", path, dokploytest.Key, "", "")
	var all []map[string]any
	if err := json.Unmarshal([]byte(body), &all); err != nil {
		t.Fatalf("%s: %v", body, err)
	}
	return all
}

func same(t *testing.T, a, b string) bool {
	t.Helper()
	var x, y any
	return json.Unmarshal([]byte(a), &x) == nil && json.Unmarshal([]byte(b), &y) == nil && reflect.DeepEqual(x, y)
}

// What it says of objects that are made, read and removed is what the recorded
// server said, ids and times aside.
func TestRecordedObjects(t *testing.T) {
	t.Parallel()
	s := dokploytest.New(t)
	const file = "services:\\n  app:\\n    image: h-dokploy-app:1\\n    network_mode: none\\n    environment:\\n      FOO: ${FOO:-unset}\\n      GREETING: ${GREETING:-unset}\\n    pull_policy: never\\n"
	post := func(path, body string) (int, map[string]any) {
		t.Helper()
		status, _, text := call(t, s, "POST", "/api/"+path, dokploytest.Key, "application/json", body)
		m := map[string]any{}
		if err := json.Unmarshal([]byte(text), &m); err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		return status, m
	}
	recorded := func(what string, got map[string]any, want string) {
		t.Helper()
		var m map[string]any
		if err := json.Unmarshal([]byte(want), &m); err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(plain(got), plain(m)) {
			t.Errorf("%s:\n got %v\nwant %v", what, plain(got), plain(m))
		}
	}
	_, made := post("project.create", `{"name":"demo","description":"d"}`)
	recorded("project.create", made, `{"project":{"projectId":"PHgU9CxkrD5gWHSswfm1S","name":"demo","description":"d","createdAt":"2026-11-21T21:24:44.841Z","organizationId":"4wVS_shgAYazreSvtZyPE","env":""},"environment":{"environmentId":"iRUyzmzw-ppO5VMmo92mH","name":"production","description":"Production environment","createdAt":"2026-11-21T21:24:44.851Z","env":"","projectId":"PHgU9CxkrD5gWHSswfm1S","isDefault":true}}`)
	project := made["project"].(map[string]any)["projectId"].(string)
	_, environment := post("environment.create", `{"name":"staging","description":"s","projectId":"`+project+`"}`)
	recorded("environment.create", environment, `{"environmentId":"U28xHQ_5Aed2nUSqkrQ5p","name":"staging","description":"s","createdAt":"2026-11-21T21:25:26.093Z","env":"","projectId":"PHgU9CxkrD5gWHSswfm1S","isDefault":false}`)
	_, second := post("environment.create", `{"name":"staging","projectId":"`+project+`"}`)
	recorded("a second of that name", second, `{"environmentId":"1U7Obfb1hu0YulhC3ncQW","name":"staging","description":null,"createdAt":"2026-11-21T21:25:27.106Z","env":"","projectId":"PHgU9CxkrD5gWHSswfm1S","isDefault":false}`)
	_, refused := post("environment.create", `{"name":"production","projectId":"`+project+`"}`)
	recorded("production", refused, `{"message":"You cannot create a environment with the name 'production'","code":"BAD_REQUEST","data":{"code":"BAD_REQUEST","httpStatus":400,"path":"environment.create","zodError":null}}`)

	at := environment["environmentId"].(string)
	_, compose := post("compose.create", `{"name":"web","description":"raw","environmentId":"`+at+`","composeType":"docker-compose","composeFile":"`+file+`","sourceType":"raw","appName":"web","env":"A=1"}`)
	recorded("compose.create", compose, `{"composeId":"9Z1lD1bdMvfGb4nFv099g","name":"web","appName":"web-jtmd1k","description":"raw","env":null,"composeFile":"`+file+`","refreshToken":"4_OmZRHPbg8YuZB9l6Cwx","sourceType":"raw","composeType":"docker-compose","repository":null,"owner":null,"branch":null,"autoDeploy":true,"gitlabProjectId":null,"gitlabRepository":null,"gitlabOwner":null,"gitlabBranch":null,"gitlabPathNamespace":null,"bitbucketRepository":null,"bitbucketRepositorySlug":null,"bitbucketOwner":null,"bitbucketBranch":null,"giteaRepository":null,"giteaOwner":null,"giteaBranch":null,"customGitUrl":null,"customGitBranch":null,"customGitSSHKeyId":null,"command":"","createEnvFile":true,"enableSubmodules":false,"composePath":"./docker-compose.yml","suffix":"","randomize":false,"isolatedDeployment":false,"isolatedDeploymentsVolume":false,"triggerType":"push","composeStatus":"idle","icon":null,"environmentId":"U28xHQ_5Aed2nUSqkrQ5p","createdAt":"2026-11-21T21:25:28.287Z","watchPaths":null,"githubId":null,"gitlabId":null,"bitbucketId":null,"giteaId":null,"serverId":null,"serviceNetworks":[]}`)
	if app := compose["appName"]; app == "web" || !strings.HasPrefix(app.(string), "web-") {
		t.Errorf("appName %v has no suffix", app)
	}
	if _, other := post("compose.create", `{"name":"web2","environmentId":"`+at+`"}`); other["sourceType"] != "github" {
		t.Errorf("without sourceType: %v", other["sourceType"])
	}
	for body, want := range map[string]string{
		`{"name":"x","environmentId":"nope"}`: `{"message":"Environment not found","code":"NOT_FOUND","data":{"code":"NOT_FOUND","httpStatus":404,"path":"compose.create","zodError":null}}`,
		`{"environmentId":"` + at + `"}`:      `{"message":"Input validation failed","code":"BAD_REQUEST","data":{"code":"BAD_REQUEST","httpStatus":400,"path":"compose.create","zodError":{"formErrors":[],"fieldErrors":{"name":["Invalid input: expected string, received undefined"]}}},"issues":[{"expected":"string","code":"invalid_type","path":["name"],"message":"Invalid input: expected string, received undefined"}]}`,
	} {
		_, got := post("compose.create", body)
		recorded(body, got, want)
	}
	_, services := post("environment.remove", `{"environmentId":"`+at+`"}`)
	recorded("environment.remove", services, `{"message":"Cannot delete environment: it has active services. Delete all services first.","code":"BAD_REQUEST","data":{"code":"BAD_REQUEST","httpStatus":400,"path":"environment.remove","zodError":null}}`)
	_, standard := post("environment.remove", `{"environmentId":"`+made["environment"].(map[string]any)["environmentId"].(string)+`"}`)
	recorded("the default environment", standard, `{"message":"You cannot delete the default environment","code":"BAD_REQUEST","data":{"code":"BAD_REQUEST","httpStatus":400,"path":"environment.remove","zodError":null}}`)
	_, gone := post("environment.remove", `{"environmentId":"`+second["environmentId"].(string)+`"}`)
	recorded("environment.remove", gone, `{"environmentId":"1U7Obfb1hu0YulhC3ncQW","name":"staging","description":null,"createdAt":"2026-11-21T21:25:27.106Z","env":"","projectId":"PHgU9CxkrD5gWHSswfm1S","isDefault":false}`)

	// Without deleteVolumes it is deleted too, and what it answers has the text.
	if status, deleted := post("compose.delete", `{"composeId":"`+compose["composeId"].(string)+`"}`); status != 200 || deleted["name"] != "web" {
		t.Errorf("compose.delete: %d %v", status, deleted)
	}
	_, again := post("compose.delete", `{"composeId":"`+compose["composeId"].(string)+`","deleteVolumes":false}`)
	recorded("again", again, `{"message":"Compose not found","code":"NOT_FOUND","data":{"code":"NOT_FOUND","httpStatus":404,"path":"compose.delete","zodError":null}}`)
}

// plain leaves out what differs from server to server: ids and times.
func plain(m map[string]any) map[string]any {
	out := map[string]any{}
	for k, v := range m {
		switch inner, nested := v.(map[string]any); {
		case nested:
			out[k] = plain(inner)
		case strings.HasSuffix(k, "Id") && v != nil, k == "createdAt", k == "refreshToken", k == "appName":
			out[k] = "…"
		default:
			out[k] = v
		}
	}
	return out
}
