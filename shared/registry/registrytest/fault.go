package registrytest

import (
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"time"
)

// Fault is something that goes wrong. Which requests it meets: Method and
// Path, of which the empty string is any; Skip of them pass first; Times of
// them are met, 0 for all. What happens: the other fields, in their order.
type Fault struct {
	Method string
	Path   string // somewhere in the path
	Skip   int
	Times  int

	Delay time.Duration // before anything else
	Then  func()        // called after Delay
	Hang  bool          // no answer until the client gives up

	Status int // answer with this and Header and Body, instead of the registry
	Header http.Header
	Body   string

	Alter    func([]byte) []byte // of the answer's body; its length is told as altered
	Reset    bool                // break the connection (RST) after ResetAt bytes of the answer's body
	Stall    bool                // give no more after ResetAt bytes, until the client gives up
	ResetAt  int64
	Lose     bool // do what was asked, then break the connection without an answer
	NoRanges bool // ignore Range
	Cut      bool // take CutAt bytes of the request's body only, then break the connection
	CutAt    int64
}

type fault struct {
	Fault
	seen int
}

// Fail adds a fault. Of several that meet a request, the first added counts.
func (s *Server) Fail(f Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = append(s.faults, &fault{Fault: f})
}

// Heal takes all faults away.
func (s *Server) Heal() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = nil
}

func (s *Server) match(req *http.Request) *fault {
	for _, f := range s.faults {
		if f.Method != "" && f.Method != req.Method || !strings.Contains(req.URL.Path, f.Path) {
			continue
		}
		f.seen++
		if f.seen > f.Skip && (f.Times == 0 || f.seen <= f.Skip+f.Times) {
			return f
		}
	}
	return nil
}

// before does what comes before the registry is asked, and tells whether that was all.
func (f *fault) before(w http.ResponseWriter, req *http.Request) bool {
	time.Sleep(f.Delay)
	if f.Then != nil {
		f.Then()
	}
	if f.Hang {
		<-req.Context().Done()
		return true
	}
	if f.NoRanges {
		req.Header.Del("Range")
	}
	if f.Status == 0 {
		return false
	}
	_, _ = io.Copy(io.Discard, req.Body)
	for k, v := range f.Header {
		w.Header()[k] = v
	}
	w.WriteHeader(f.Status)
	_, _ = io.WriteString(w, f.Body)
	return true
}

func (f *fault) changes() bool { return f.Alter != nil || f.Reset || f.Stall || f.Lose || f.Cut }

// around asks the registry, and spoils the answer.
func (f *fault) around(w http.ResponseWriter, req *http.Request, next http.Handler) {
	rec := httptest.NewRecorder()
	if f.Cut {
		req.Body = &cutBody{req.Body, f.CutAt}
	}
	next.ServeHTTP(rec, req)
	body := rec.Body.Bytes()
	if f.Alter != nil {
		body = f.Alter(append([]byte(nil), body...))
	}
	if f.Lose || f.Cut {
		reset(w)
		return
	}
	for k, v := range rec.Header() {
		w.Header()[k] = v
	}
	if req.Method != http.MethodHead {
		w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	}
	w.WriteHeader(rec.Code)
	if !f.Reset && !f.Stall {
		_, _ = w.Write(body)
		return
	}
	_, _ = w.Write(body[:min(f.ResetAt, int64(len(body)))])
	_ = http.NewResponseController(w).Flush()
	if f.Stall {
		<-req.Context().Done()
		return
	}
	// RST throws away what the other side has not read yet.
	time.Sleep(20 * time.Millisecond)
	reset(w)
}

func reset(w http.ResponseWriter) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	if u, ok := conn.(interface{ NetConn() net.Conn }); ok {
		conn = u.NetConn()
	}
	if c, ok := conn.(*net.TCPConn); ok {
		_ = c.SetLinger(0)
	}
	conn.Close()
}
