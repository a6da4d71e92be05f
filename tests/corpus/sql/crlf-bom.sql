-- cutover:no-transaction
VACUUM;
SELECT 1;
