package loopback

import (
	"net/http"
	"sync/atomic"
	"time"
)

// Meter counts the requests to a registry, and makes each wait as if the registry were far away.
type Meter struct {
	Handler http.Handler

	requests, delay atomic.Int64
}

// Start begins to count from 0, with that much latency.
func (m *Meter) Start(delay time.Duration) {
	m.delay.Store(int64(delay))
	m.requests.Store(0)
}

// Requests is how many there were since Start.
func (m *Meter) Requests() int64 { return m.requests.Load() }

// ServeHTTP implements http.Handler.
func (m *Meter) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	m.requests.Add(1)
	if d := time.Duration(m.delay.Load()); d > 0 {
		time.Sleep(d)
	}
	m.Handler.ServeHTTP(w, r)
}
