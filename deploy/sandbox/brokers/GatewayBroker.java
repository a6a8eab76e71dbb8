import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import org.apache.pulsar.PulsarStandaloneStarter;
import org.rocksdb.Options;
import org.rocksdb.RocksIterator;
import org.rocksdb.TransactionDB;
import org.rocksdb.TransactionDBOptions;
import org.rocksdb.WriteOptions;

/**
 * Starts standalone Pulsar, also where an earlier one was killed. What that one left registered as its bookie is
 * removed first: Pulsar 4.0.7 would take the registration over, hear of its own taking over as a loss where the
 * machine is busy, and register again and again with a whole core and its whole heap.
 */
public class GatewayBroker {
    private static final String REGISTERED = "/ledgers/available/";

    public static void main(String[] arguments) throws Exception {
        Path metadata = Path.of(arguments[List.of(arguments).indexOf("--metadata-dir") + 1]);
        if (Files.exists(metadata.resolve("CURRENT"))) {
            removeRegistrations(metadata);
        }
        PulsarStandaloneStarter.main(arguments);
    }

    private static void removeRegistrations(Path metadata) throws Exception {
        try (Options options = new Options();
                TransactionDBOptions transactions = new TransactionDBOptions();
                WriteOptions durable = new WriteOptions().setSync(true);
                TransactionDB database = TransactionDB.open(options, transactions, metadata.toString());
                RocksIterator entries = database.newIterator()) {
            entries.seek(REGISTERED.getBytes(StandardCharsets.UTF_8));
            for (; entries.isValid(); entries.next()) {
                String key = new String(entries.key(), StandardCharsets.UTF_8);
                if (!key.startsWith(REGISTERED)) {
                    break;
                }
                // A bookie is address and port; beside them stands the folder of those that only read.
                if (key.contains(":")) {
                    database.delete(durable, entries.key());
                }
            }
        }
    }
}
