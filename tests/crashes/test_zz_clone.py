import time, os, psycopg, pytest
from tests import databases
from tests.journeys import apart
def test_x(django_db_setup):
    t=time.time(); apart.clone("gw9"); print("clone", time.time()-t)
    url=os.environ["TEST_DATABASE_URL"]; T=os.environ["TEST_RUN"]
    with psycopg.connect(url,autocommit=True) as c:
        print(c.execute("select pg_size_pretty(pg_database_size(%s))",[T+"_default"]).fetchone())
        for i,st in enumerate(["file_copy","wal_log"]*2):
            t=time.time(); c.execute(f"CREATE DATABASE {T}_x{i} TEMPLATE {T}_default STRATEGY {st}"); print(st,time.time()-t)
    t=time.time()
    with psycopg.connect(url,dbname=T+"_x0") as c:
        apart._drop_tables_of_others(c,"orders")
    print("drop", time.time()-t)
