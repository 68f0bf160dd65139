package skuflow.peer;

import java.time.Duration;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.concurrent.CountDownLatch;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.consumer.ConsumerConfig;
import org.apache.kafka.clients.producer.ProducerConfig;
import org.apache.kafka.common.errors.TopicExistsException;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.ByteArraySerializer;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.StreamsConfig;
import org.apache.kafka.streams.Topology;
import org.apache.kafka.streams.errors.StreamsUncaughtExceptionHandler.StreamThreadExceptionResponse;
import org.apache.kafka.streams.state.Stores;

/**
 * The job of skuflow's stages `clean` and `compete` as a Kafka Streams program.
 *
 * <pre>
 *  raw.offers.v1 ─▶ Clean ──▶ ks.product-offers ─▶ Compete ──▶ ks.features, ks.alerts
 *  listings.v1 ───▶   └─────▶ ks.dlq               ▲
 *  catalog.v1 ─────────────────────────────────────┘
 * </pre>
 *
 * Arguments: bootstrap servers, application id, state directory, processing guarantee, commit interval in ms, threads,
 * partitions.
 */
public final class Main {
    private static final String COPIES = "ks.product-offers";
    private static final List<String> WRITTEN = List.of(COPIES, "ks.features", "ks.alerts", "ks.dlq");

    private Main() {}

    public static void main(String[] args) throws Exception {
        try (Admin admin = Admin.create(Map.of("bootstrap.servers", args[0]))) {
            for (String topic : WRITTEN) {
                var made = new NewTopic(topic, Integer.parseInt(args[6]), (short) -1)
                    .configs(Map.of("message.timestamp.type", "LogAppendTime", "retention.ms", "-1"));
                try {
                    admin.createTopics(List.of(made)).all().get();
                } catch (java.util.concurrent.ExecutionException e) {
                    if (!(e.getCause() instanceof TopicExistsException)) throw e;
                }
            }
        }
        KafkaStreams streams = new KafkaStreams(topology(), settings(args));
        var ended = new CountDownLatch(1);
        streams.setUncaughtExceptionHandler(error -> {
            error.printStackTrace();
            ended.countDown();
            return StreamThreadExceptionResponse.SHUTDOWN_CLIENT;
        });
        Runtime.getRuntime().addShutdownHook(new Thread(() -> streams.close(Duration.ofSeconds(20))));
        streams.start();
        ended.await();
        System.exit(1);
    }

    private static Properties settings(String[] args) {
        Properties p = new Properties();
        p.put(StreamsConfig.BOOTSTRAP_SERVERS_CONFIG, args[0]);
        p.put(StreamsConfig.APPLICATION_ID_CONFIG, args[1]);
        p.put(StreamsConfig.STATE_DIR_CONFIG, args[2]);
        p.put(StreamsConfig.PROCESSING_GUARANTEE_CONFIG, args[3]);
        p.put(StreamsConfig.COMMIT_INTERVAL_MS_CONFIG, Integer.parseInt(args[4]));
        p.put(StreamsConfig.NUM_STREAM_THREADS_CONFIG, Integer.parseInt(args[5]));
        p.put("statestore.cache.max.bytes", 0); // with it, comparing keys takes more than it saves
        p.put("buffered.records.per.partition", 5_000);
        p.put(ConsumerConfig.AUTO_OFFSET_RESET_CONFIG, "earliest");
        p.put(ConsumerConfig.MAX_POLL_RECORDS_CONFIG, 4_000);
        p.put(StreamsConfig.consumerPrefix("group.instance.id"), args[1]); // static: at once again after a crash
        p.put(StreamsConfig.consumerPrefix("max.partition.fetch.bytes"), 2 << 20);
        p.put(StreamsConfig.consumerPrefix("receive.buffer.bytes"), 1 << 20);
        p.put(StreamsConfig.producerPrefix(ProducerConfig.COMPRESSION_TYPE_CONFIG), "lz4");
        p.put(StreamsConfig.producerPrefix(ProducerConfig.LINGER_MS_CONFIG), 20);
        p.put(StreamsConfig.producerPrefix(ProducerConfig.BATCH_SIZE_CONFIG), 256 << 10);
        p.put(StreamsConfig.producerPrefix(ProducerConfig.BUFFER_MEMORY_CONFIG), 128L << 20);
        return p;
    }

    private static Topology topology() {
        var in = new ByteArrayDeserializer();
        var out = new ByteArraySerializer();
        Topology t = new Topology();
        t.addSource("raw-offers", in, in, "raw.offers.v1");
        t.addSource("listings-table", in, in, "listings.v1");
        t.addProcessor("clean", Clean::new, "raw-offers");
        t.addProcessor("track", Clean.Listings::new, "listings-table");
        var bytes = Serdes.ByteArray();
        var week = Duration.ofMillis(Clean.WEEK_MS);
        t.addStateStore(Stores.windowStoreBuilder(
            Stores.persistentWindowStore(Clean.SEEN, week.multipliedBy(2), week, false), Serdes.Bytes(), bytes), "clean");
        t.addStateStore(Stores.keyValueStoreBuilder(Stores.persistentKeyValueStore(Clean.PASSED), Serdes.Bytes(), bytes), "clean");
        t.addStateStore(Stores.keyValueStoreBuilder(Stores.persistentKeyValueStore(Clean.LISTINGS), Serdes.Bytes(), bytes), "clean", "track");
        t.addSink(Clean.COPIES, COPIES, out, out, "clean");
        t.addSink(Clean.DEAD, "ks.dlq", out, out, "clean");

        t.addSource("product-offers", in, in, COPIES);
        t.addSource("catalog-entries", in, in, "catalog.v1");
        t.addProcessor("compete", () -> new Compete(false), "product-offers");
        t.addProcessor("catalog", () -> new Compete(true), "catalog-entries");
        t.addStateStore(Stores.keyValueStoreBuilder(Stores.persistentKeyValueStore(Compete.MARKETS), Serdes.Bytes(), bytes), "compete", "catalog");
        t.addSink(Compete.FEATURES, "ks.features", out, out, "compete", "catalog");
        t.addSink(Compete.ALERTS, "ks.alerts", out, out, "compete");
        return t;
    }
}
