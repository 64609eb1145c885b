// Command sigstore is what Fulcio and Rekor stand on, with nothing kept on a disk: Trillian, a certificate transparency log, and a timestamp authority.
package main

import (
	"context"
	"flag"
	"fmt"
	"net"
	"net/http"
	"os"
	"time"

	"github.com/google/certificate-transparency-go/trillian/ctfe"
	"github.com/google/certificate-transparency-go/trillian/ctfe/configpb"
	"github.com/google/trillian"
	"github.com/google/trillian/client"
	"github.com/google/trillian/crypto/keys"
	"github.com/google/trillian/crypto/keys/der"
	"github.com/google/trillian/crypto/keyspb"
	"github.com/google/trillian/extension"
	"github.com/google/trillian/log"
	"github.com/google/trillian/monitoring"
	"github.com/google/trillian/quota"
	"github.com/google/trillian/server"
	"github.com/google/trillian/server/admin"
	"github.com/google/trillian/storage/memory"
	"github.com/google/trillian/util/clock"
	"github.com/google/trillian/util/election"
	"github.com/google/trillian/util/election2"
	tsa "github.com/sigstore/timestamp-authority/v2/pkg/server"
	"github.com/spf13/viper"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"
)

func main() {
	trees := flag.String("trillian", "127.0.0.1:8090", "where Trillian listens")
	stamps := flag.Int("timestamp-port", 3004, "where the timestamp authority listens on 127.0.0.1")
	certificates := flag.String("ct", "127.0.0.1:6962", "where the certificate transparency log listens, below /ct")
	roots := flag.String("ct-roots", "", "the file with the authorities whose certificates it takes, PEM")
	key := flag.String("ct-key", "", "the file with its private key, DER")
	flag.Parse()
	if err := serve(*trees, *certificates, *roots, *key, *stamps); err != nil {
		fmt.Fprintln(os.Stderr, "sigstore:", err)
		os.Exit(1)
	}
}

// serve ends with the first that ends.
func serve(trees, certificates, roots, key string, stamps int) error {
	ctx := context.Background()
	ended := make(chan error, 3)
	if err := trillianAt(ctx, trees, ended); err != nil {
		return err
	}
	if err := certificatesAt(ctx, certificates, trees, roots, key, ended); err != nil {
		return err
	}
	for k, v := range map[string]string{
		"timestamp-signer": "memory", "timestamp-signer-hash": "sha256",
		"default-policy-oid": "1.3.6.1.4.1.57264.2", "accepted-policy-oids": "1.3.6.1.4.1.57264.2",
	} {
		viper.Set(k, v)
	}
	viper.Set("max-request-body-size", uint64(1<<20))
	go func() {
		ended <- tsa.NewRestAPIServer("127.0.0.1", stamps, []string{"http"}, false, time.Minute, time.Minute).Serve()
	}()
	return <-ended
}

// trillianAt starts Trillian's server, and its signer in the same process, since they share a storage that is memory.
func trillianAt(ctx context.Context, address string, ended chan<- error) error {
	mf := monitoring.InertMetricFactory{}
	trees := memory.NewTreeStorage()
	registry := extension.Registry{
		AdminStorage: memory.NewAdminStorage(trees), LogStorage: memory.NewLogStorage(trees, mf),
		QuotaManager: quota.Noop(), MetricFactory: mf, ElectionFactory: election2.NoopFactory{},
	}
	s := grpc.NewServer()
	trillian.RegisterTrillianLogServer(s, server.NewTrillianLogRPCServer(registry, clock.System))
	trillian.RegisterTrillianAdminServer(s, admin.New(registry, []trillian.TreeType{trillian.TreeType_LOG}))
	l, err := net.Listen("tcp", address)
	if err != nil {
		return err
	}
	go log.NewOperationManager(log.OperationInfo{
		Registry: registry, BatchSize: 100, NumWorkers: 1, RunInterval: 20 * time.Millisecond, TimeSource: clock.System,
		ElectionConfig: election.RunnerConfig{TimeSource: clock.System},
	}, log.NewSequencerManager(registry, 0)).OperationLoop(ctx)
	go func() { ended <- s.Serve(l) }()
	return nil
}

// certificatesAt starts the log of certificates.
func certificatesAt(ctx context.Context, address, trees, roots, key string, ended chan<- error) error {
	conn, err := grpc.NewClient(trees, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return err
	}
	logs := trillian.NewTrillianLogClient(conn)
	tree, err := client.CreateAndInitTree(ctx, &trillian.CreateTreeRequest{Tree: &trillian.Tree{
		TreeType: trillian.TreeType_LOG, TreeState: trillian.TreeState_ACTIVE, DisplayName: "ct", MaxRootDuration: durationpb.New(time.Hour),
	}}, trillian.NewTrillianAdminClient(conn), logs)
	if err != nil {
		return err
	}
	private, err := os.ReadFile(key)
	if err != nil {
		return err
	}
	keys.RegisterHandler(&keyspb.PrivateKey{}, der.FromProto)
	sealed, err := anypb.New(&keyspb.PrivateKey{Der: private})
	if err != nil {
		return err
	}
	checked, err := ctfe.ValidateLogConfig(&configpb.LogConfig{LogId: tree.TreeId, Prefix: "ct", RootsPemFile: []string{roots}, PrivateKey: sealed})
	if err != nil {
		return err
	}
	instance, err := ctfe.SetUpInstance(ctx, ctfe.InstanceOptions{
		Validated: checked, Client: logs, Deadline: 10 * time.Second, MetricFactory: monitoring.InertMetricFactory{}, RequestLog: new(ctfe.DefaultRequestLog),
	})
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	for path, h := range instance.Handlers {
		mux.Handle(path, h)
	}
	l, err := net.Listen("tcp", address)
	if err != nil {
		return err
	}
	go func() { ended <- (&http.Server{Handler: mux, ReadHeaderTimeout: time.Minute}).Serve(l) }()
	return nil
}
