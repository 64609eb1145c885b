package registry

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"unicode"

	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
)

// The kinds of failure, matched with errors.Is. An error of none of these
// kinds is an answer of the registry that repeating would not change.
var (
	ErrNotFound    = errors.New("not found")
	ErrDenied      = errors.New("denied")               // 401 and 403
	ErrUnavailable = errors.New("registry unavailable") // network faults, 408, 429, 5xx, after retries
	ErrUntrusted   = errors.New("connection not trusted")
	ErrIntegrity   = errors.New("content does not match its digest or description")
	ErrNoPlatform  = errors.New("no image for the platform")
	ErrUnsupported = errors.New("not a supported image") // Docker schema 1, artifacts
	ErrImmutable   = errors.New("tag is immutable")
)

var errPlain = errors.New("plain HTTP is not allowed here")

// Error is a failure at a registry.
type Error struct {
	Op       string // "pull" or "push"
	Ref      string // what was asked for
	Registry string // the host that was asked
	Kind     error  // one of the sentinels, or nil
	Err      error  // the cause
}

func (e *Error) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s", e.Op, e.Ref)
	if !strings.HasPrefix(e.Ref, e.Registry+"/") {
		fmt.Fprintf(&b, " from %s", e.Registry)
	}
	b.WriteString(": ")
	// The cause of our own making already begins with its kind.
	if e.Kind != nil && !errors.Is(e.Err, e.Kind) {
		fmt.Fprintf(&b, "%v: ", e.Kind)
	}
	b.WriteString(describe(e.Err))
	if h := e.hint(); h != "" {
		fmt.Fprintf(&b, " (%s)", h)
	}
	return b.String()
}

// Unwrap gives the kind and the cause.
func (e *Error) Unwrap() []error {
	if e.Kind == nil {
		return []error{e.Err}
	}
	return []error{e.Kind, e.Err}
}

func (e *Error) hint() string {
	switch e.Kind {
	case ErrNotFound:
		return "check the name and the tag"
	case ErrDenied:
		return e.deniedHint()
	case ErrUnavailable:
		return "try again later, or allow more retries"
	case ErrUntrusted:
		switch {
		case errors.Is(e.Err, errRealm):
			return "if the service belongs to " + e.Registry + ", allow it with --registry-token-service"
		case isBadCertificate(e.Err):
			return "give the CA of " + e.Registry + " with --registry-certificate, or use --skip-tls-verify-registry"
		case isAlert(e.Err), isRefusal(e.Err):
			return "if " + e.Registry + " wants a client certificate, give it with --registry-client-cert"
		}
		return "if " + e.Registry + " speaks plain HTTP only, allow it with --insecure-registry"
	case ErrIntegrity:
		return "the registry, or something on the way, changed the content"
	}
	return ""
}

func (e *Error) deniedHint() string {
	d, ok := errors.AsType[*deniedError](e.Err)
	switch {
	case ok && d.origin == "":
		return "no credentials for " + e.Registry + " were found; check the name, or log in: docker's config.json, or KANIKO_<HOST>_USER and _PASSWORD"
	case ok:
		return "check the name, and whether the credentials from " + d.origin + " may do this"
	}
	return "check the name, and the credentials for " + e.Registry
}

// deniedError is a refusal and where the credential came from; "" when there was none.
type deniedError struct {
	error
	origin string
}

func (e *deniedError) Unwrap() error { return e.error }

// failure makes err an *Error, unless it is one.
func failure(op, ref string, at place, err error) error {
	if err == nil || errors.As(err, new(*Error)) {
		return err
	}
	return &Error{Op: op, Ref: ref, Registry: familiarHost(at.host), Kind: kindOf(err), Err: err}
}

func kindOf(err error) error {
	for _, k := range []error{ErrNotFound, ErrDenied, ErrUnavailable, ErrUntrusted, ErrIntegrity, ErrNoPlatform, ErrUnsupported, ErrImmutable} {
		if errors.Is(err, k) {
			return k
		}
	}
	// Where plain HTTP may be tried after HTTPS, err holds what became of both.
	te, answered := errors.AsType[*transport.Error](err)
	switch {
	case isBadCertificate(err), errors.Is(err, errRealm), isAlert(err), isRefusal(err):
		return ErrUntrusted
	case answered:
		return kindOfAnswer(te)
	case errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded):
		return nil
	case isNetwork(err):
		return ErrUnavailable
	case isUntrusted(err):
		return ErrUntrusted
	}
	return nil
}

func kindOfAnswer(te *transport.Error) error {
	switch code := te.StatusCode; {
	case saysImmutable(te):
		return ErrImmutable
	case code == http.StatusNotFound:
		return ErrNotFound
	case code == http.StatusUnauthorized || code == http.StatusForbidden:
		return ErrDenied
	case mayPass(code):
		return ErrUnavailable
	}
	return nil
}

// saysImmutable knows the words of ECR, Harbor, Quay and Artifact Registry;
// the distribution specification has no code for it.
func saysImmutable(te *transport.Error) bool {
	return slices.ContainsFunc(te.Errors, func(d transport.Diagnostic) bool {
		s := strings.ToLower(d.Message)
		return strings.Contains(s, "immutable") || strings.Contains(s, "cannot update tag") || strings.Contains(s, "cannot be overwritten")
	})
}

// mayPass tells whether the same request may get a better answer later.
func mayPass(status int) bool {
	switch status {
	case http.StatusRequestTimeout, http.StatusTooManyRequests, http.StatusInternalServerError, http.StatusBadGateway,
		http.StatusServiceUnavailable, http.StatusGatewayTimeout, 499, 520, 521, 522, 523, 524:
		return true
	}
	return false
}

func isUntrusted(err error) bool {
	return isBadCertificate(err) ||
		errors.Is(err, errPlain) ||
		errors.Is(err, errRealm) ||
		errors.Is(err, http.ErrSchemeMismatch) ||
		errors.As(err, new(tls.RecordHeaderError)) ||
		isAlert(err)
}

// isAlert tells whether the other side ended the handshake, as it does without
// the client certificate it wants. crypto/tls has no exported type for that.
func isAlert(err error) bool {
	oe, ok := errors.AsType[*net.OpError](err)
	return ok && oe.Op == "remote error"
}

// isRefusal tells whether a server broke off all connections by TLS, and asked for
// TLS where plain HTTP was tried: its alert was overtaken by the reset.
func isRefusal(err error) bool {
	te, answered := errors.AsType[*transport.Error](err)
	if !answered || te.StatusCode != http.StatusBadRequest || !isNetwork(err) {
		return false
	}
	said := strings.ToLower(te.Error()) // by Go's server, by nginx
	return strings.Contains(said, "http request to an https server") || strings.Contains(said, "plain http request was sent to https port")
}

func isBadCertificate(err error) bool { return errors.As(err, new(*tls.CertificateVerificationError)) }

// isNetwork tells whether err came while talking, rather than from what was said.
func isNetwork(err error) bool {
	return errors.As(err, new(*netError))
}

// netError marks a fault of the network; the transport puts it on.
type netError struct{ err error }

func (e *netError) Error() string { return e.err.Error() }
func (e *netError) Unwrap() error { return e.err }

// describe is err's text, fit for a log: no query of a URL (signed links are
// secrets), no control characters, no whole HTML page.
func describe(err error) string {
	s := err.Error()
	if ue, ok := errors.AsType[*url.Error](err); ok {
		if u, perr := url.Parse(ue.URL); perr == nil && u.RawQuery != "" {
			u.RawQuery = "…"
			s = strings.ReplaceAll(s, ue.URL, u.Redacted())
		}
	}
	return clip(s)
}

const longestText = 500

func clip(s string) string {
	s = strings.Join(strings.FieldsFunc(s, func(r rune) bool { return unicode.IsControl(r) }), " ")
	if r := []rune(s); len(r) > longestText {
		s = string(r[:longestText]) + "…"
	}
	return s
}
