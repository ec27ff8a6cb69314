"""What each method asks of its caller: one table, and a server starts only when every method it serves is in it."""

from __future__ import annotations

OPEN = "open"
"""Anyone may call; nobody is asked who they are."""
AUTHENTICATED = "authenticated"
"""Any valid token; the service itself checks scopes where they depend on the request."""

_READ_SOURCES, _WRITE_SOURCES, _ADMIN = "read:source_metrics", "write:source_metrics", "admin"
_READ_JOBS, _WRITE_JOBS, _STOP_JOBS = "read:jobs", "write:jobs", "stop:jobs"
_READ_ASSETS, _WRITE_ASSETS = "read:asset_metrics", "write:asset_metrics"
_READ_TYPES, _WRITE_TYPES = "read:metric_types", "write:metric_types"

METHOD_SCOPES: dict[str, str] = {
    "/streamgauge.v1.SourceService/CreateSource": _WRITE_SOURCES,
    "/streamgauge.v1.SourceService/GetSource": _READ_SOURCES,
    "/streamgauge.v1.SourceService/ListSources": _READ_SOURCES,
    "/streamgauge.v1.SourceService/UpdateSource": _WRITE_SOURCES,
    "/streamgauge.v1.SourceService/DeleteSource": _WRITE_SOURCES,
    "/streamgauge.v1.SourceService/ReportIngests": _WRITE_SOURCES,
    "/streamgauge.v1.SourceService/GetSourceMetrics": _READ_SOURCES,
    "/streamgauge.v1.JobService/CreateJob": _WRITE_JOBS,
    "/streamgauge.v1.JobService/GetJob": _READ_JOBS,
    "/streamgauge.v1.JobService/ListJobs": _READ_JOBS,
    "/streamgauge.v1.JobService/UpdateJob": _WRITE_JOBS,
    "/streamgauge.v1.JobService/DeleteJob": _WRITE_JOBS,
    "/streamgauge.v1.JobService/ListJobRuns": _READ_JOBS,
    "/streamgauge.v1.JobService/GetJobStatus": _READ_JOBS,
    "/streamgauge.v1.JobService/GetJobStatusAndMetrics": _READ_JOBS,
    "/streamgauge.v1.JobService/ListJobExceptions": _READ_JOBS,
    "/streamgauge.v1.JobService/StopJob": _STOP_JOBS,
    "/streamgauge.v1.JobService/WatchJobs": _READ_JOBS,
    "/streamgauge.v1.JobService/ReportJob": _WRITE_JOBS,
    "/streamgauge.v1.JobService/CreateJobType": _WRITE_JOBS,
    "/streamgauge.v1.JobService/GetJobType": _READ_JOBS,
    "/streamgauge.v1.JobService/ListJobTypes": _READ_JOBS,
    "/streamgauge.v1.JobService/UpdateJobType": _WRITE_JOBS,
    "/streamgauge.v1.JobService/CreateError": _WRITE_JOBS,
    "/streamgauge.v1.JobService/ListErrors": _READ_JOBS,
    "/streamgauge.v1.AssetMetricService/EmitAssetMetrics": _WRITE_ASSETS,
    "/streamgauge.v1.AssetMetricService/BatchEmitAssetMetrics": _WRITE_ASSETS,
    "/streamgauge.v1.AssetMetricService/EmitAssetMetric": _WRITE_ASSETS,
    "/streamgauge.v1.AssetMetricService/ListAssetMetrics": _READ_ASSETS,
    "/streamgauge.v1.AssetMetricService/GetLatestAssetMetrics": _READ_ASSETS,
    "/streamgauge.v1.AssetMetricService/DeleteAssetMetrics": _WRITE_ASSETS,
    "/streamgauge.v1.AssetMetricService/CreateAsset": _WRITE_ASSETS,
    "/streamgauge.v1.AssetMetricService/GetAsset": _READ_ASSETS,
    "/streamgauge.v1.AssetMetricService/ListAssets": _READ_ASSETS,
    "/streamgauge.v1.AssetMetricService/UpdateAsset": _WRITE_ASSETS,
    "/streamgauge.v1.AssetMetricService/DeleteAsset": _WRITE_ASSETS,
    "/streamgauge.v1.MetricTypeService/ListMetricTypes": _READ_TYPES,
    "/streamgauge.v1.MetricTypeService/GetMetricType": _READ_TYPES,
    "/streamgauge.v1.MetricTypeService/GetPlotData": _READ_TYPES,
    "/streamgauge.v1.MetricTypeService/CreateMetricType": _WRITE_TYPES,
    "/streamgauge.v1.MetricTypeService/UpdateMetricType": _WRITE_TYPES,
    "/streamgauge.v1.MetricTypeService/DeleteMetricType": _WRITE_TYPES,
    "/streamgauge.v1.MetricTypeService/CreateMetricTypeChoice": _WRITE_TYPES,
    "/streamgauge.v1.MetricTypeService/DeleteMetricTypeChoice": _WRITE_TYPES,
    "/streamgauge.v1.MetricTypeService/WriteMetricTypeValues": _WRITE_TYPES,
    "/streamgauge.v1.MetricTypeService/RecalculateMetricType": _WRITE_TYPES,
    # Scopes follow the kinds of the subjects in the request: the services check them.
    "/streamgauge.v1.MetricsService/WriteMetrics": AUTHENTICATED,
    "/streamgauge.v1.MetricsService/ImportMetrics": AUTHENTICATED,
    "/streamgauge.v1.MetricsService/ExportMetrics": AUTHENTICATED,
    "/streamgauge.v1.MetricsService/WatchMetrics": AUTHENTICATED,
    "/streamgauge.v1.MetricsService/QueryMetrics": AUTHENTICATED,
    "/streamgauge.v1.MetricsService/GetLatestMetrics": AUTHENTICATED,
    "/streamgauge.v1.MetricsService/ListMetricDescriptors": AUTHENTICATED,
    "/streamgauge.v1.MetricsService/GetMetricDescriptor": AUTHENTICATED,
    "/streamgauge.v1.MetricsService/UpdateMetricDescriptor": AUTHENTICATED,
    "/streamgauge.v1.MetricsService/ApplyRetention": _ADMIN,
    "/streamgauge.v1.TokenService/CreateToken": _ADMIN,
    "/streamgauge.v1.TokenService/ListTokens": _ADMIN,
    "/streamgauge.v1.TokenService/RevokeToken": _ADMIN,
    "/streamgauge.v1.ServerService/GetServerInfo": AUTHENTICATED,
    # Load balancers and orchestrators have no token.
    "/grpc.health.v1.Health/Check": OPEN,
    "/grpc.health.v1.Health/List": OPEN,
    "/grpc.health.v1.Health/Watch": OPEN,
    # The contract is public.
    "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo": OPEN,
    "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo": OPEN,
    # Channelz tells the addresses of all clients.
    "/grpc.channelz.v1.Channelz/GetTopChannels": _ADMIN,
    "/grpc.channelz.v1.Channelz/GetServers": _ADMIN,
    "/grpc.channelz.v1.Channelz/GetServer": _ADMIN,
    "/grpc.channelz.v1.Channelz/GetServerSockets": _ADMIN,
    "/grpc.channelz.v1.Channelz/GetChannel": _ADMIN,
    "/grpc.channelz.v1.Channelz/GetSubchannel": _ADMIN,
    "/grpc.channelz.v1.Channelz/GetSocket": _ADMIN,
}
"""Full method name -> the scope it needs, OPEN or AUTHENTICATED."""
