\connect other
SELECT :'x' \gexec
