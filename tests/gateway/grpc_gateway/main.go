// A gateway made of nothing but what protoc-gen-grpc-gateway generates from the contract.
//
// It serves HTTP before the gRPC server whose address is its argument, on a free port that it prints.
package main

import (
	"context"
	"fmt"
	"log"
	"net"
	"net/http"
	"os"

	"github.com/grpc-ecosystem/grpc-gateway/v2/runtime"
	// Details of errors are printed by their types, which must be linked in: without them a refusal becomes a 500.
	_ "google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	streamgauge "streamgauge.dev/sdk/go/streamgauge/v1"
)

func main() {
	mux := runtime.NewServeMux()
	options := []grpc.DialOption{grpc.WithTransportCredentials(insecure.NewCredentials())}
	for _, register := range []func(context.Context, *runtime.ServeMux, string, []grpc.DialOption) error{
		streamgauge.RegisterAssetMetricServiceHandlerFromEndpoint,
		streamgauge.RegisterJobServiceHandlerFromEndpoint,
		streamgauge.RegisterMetricTypeServiceHandlerFromEndpoint,
		streamgauge.RegisterMetricsServiceHandlerFromEndpoint,
		streamgauge.RegisterServerServiceHandlerFromEndpoint,
		streamgauge.RegisterSourceServiceHandlerFromEndpoint,
		streamgauge.RegisterTokenServiceHandlerFromEndpoint,
	} {
		if err := register(context.Background(), mux, os.Args[1], options); err != nil {
			log.Fatal(err)
		}
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(listener.Addr())
	log.Fatal(http.Serve(listener, mux))
}
