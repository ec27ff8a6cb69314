package demo;

import java.util.HashMap;
import java.util.Map;
import org.apache.flink.api.common.eventtime.WatermarkStrategy;
import org.apache.flink.api.common.functions.OpenContext;
import org.apache.flink.api.common.functions.RichFlatMapFunction;
import org.apache.flink.api.common.typeinfo.Types;
import org.apache.flink.api.connector.source.util.ratelimit.RateLimiterStrategy;
import org.apache.flink.configuration.Configuration;
import org.apache.flink.connector.datagen.source.DataGeneratorSource;
import org.apache.flink.connector.datagen.source.GeneratorFunction;
import org.apache.flink.metrics.Gauge;
import org.apache.flink.streaming.api.environment.StreamExecutionEnvironment;
import org.apache.flink.streaming.api.functions.sink.v2.DiscardingSink;
import org.apache.flink.util.Collector;

/**
 * Numbers, of which every other one reaches a sink. It can end, fail, be restarted, and fail with a message of any length.
 *
 * <p>Arguments, each followed by its value: --name, --records (default: for ever), --rate (a second), --parallelism,
 * --failAt (the number at which it fails), --restarts, --delayMs (before a restart), --messageLength (of the failure),
 * --checkpointMs, --chain (true: one vertex instead of three), --watermarks (true: event time is the time of emission).
 */
public class DemoJob {
    /** Event time of the number 0 as the gauge currentEventTs tells it, a second more for each that follows. */
    static final long FIRST_EVENT = 1538572801000L;

    public static void main(String[] argv) throws Exception {
        Map<String, String> arguments = new HashMap<>();
        for (int i = 0; i < argv.length; i += 2) {
            arguments.put(argv[i].substring(2), argv[i + 1]);
        }
        String restarts = arguments.getOrDefault("restarts", "0");
        Configuration configuration = new Configuration();
        if (restarts.equals("0")) {
            configuration.setString("restart-strategy.type", "none");
        } else {
            configuration.setString("restart-strategy.type", "fixed-delay");
            configuration.setString("restart-strategy.fixed-delay.attempts", restarts);
            configuration.setString("restart-strategy.fixed-delay.delay", arguments.getOrDefault("delayMs", "1000") + " ms");
        }
        StreamExecutionEnvironment environment = StreamExecutionEnvironment.getExecutionEnvironment(configuration);
        environment.setParallelism(Integer.parseInt(arguments.getOrDefault("parallelism", "1")));
        long checkpoints = Long.parseLong(arguments.getOrDefault("checkpointMs", "0"));
        if (checkpoints > 0) {
            environment.enableCheckpointing(checkpoints);
        }
        if (!arguments.getOrDefault("chain", "false").equals("true")) {
            environment.disableOperatorChaining();
        }

        DataGeneratorSource<Long> numbers = new DataGeneratorSource<>(
                (GeneratorFunction<Long, Long>) number -> number,
                Long.parseLong(arguments.getOrDefault("records", String.valueOf(Long.MAX_VALUE))),
                RateLimiterStrategy.perSecond(Double.parseDouble(arguments.getOrDefault("rate", "50"))),
                Types.LONG);
        WatermarkStrategy<Long> watermarks = arguments.getOrDefault("watermarks", "false").equals("true")
                ? WatermarkStrategy.<Long>forMonotonousTimestamps()
                        .withTimestampAssigner((number, before) -> System.currentTimeMillis())
                : WatermarkStrategy.noWatermarks();
        environment.fromSource(numbers, watermarks, "Source")
                .flatMap(new EveryOther(
                        Long.parseLong(arguments.getOrDefault("failAt", "-1")),
                        Integer.parseInt(arguments.getOrDefault("messageLength", "0"))))
                .returns(Types.LONG)
                .name("Flat Map")
                .sinkTo(new DiscardingSink<>())
                .name("Sink");
        environment.executeAsync(arguments.getOrDefault("name", "demo"));
    }

    /** Lets even numbers pass, and fails at one if it is told to. */
    public static class EveryOther extends RichFlatMapFunction<Long, Long> {
        private final long failAt;
        private final int messageLength;
        private transient long eventTime;

        EveryOther(long failAt, int messageLength) {
            this.failAt = failAt;
            this.messageLength = messageLength;
        }

        @Override
        public void open(OpenContext context) {
            getRuntimeContext().getMetricGroup().gauge("currentEventTs", (Gauge<Long>) () -> eventTime);
        }

        @Override
        public void flatMap(Long number, Collector<Long> out) {
            eventTime = FIRST_EVENT + number * 1000;
            if (failAt >= 0 && number >= failAt) {
                StringBuilder message = new StringBuilder("demo failure at record " + number);
                while (message.length() < messageLength) {
                    message.append(" padding");
                }
                throw new IllegalStateException(message.toString());
            }
            if (number % 2 == 0) {
                out.collect(number);
            }
        }
    }
}
