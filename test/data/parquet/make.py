"""Small parquet files as pandas, datasets and pyarrow write them, in three codecs and groups of two rows.

    pip install pyarrow && python test/data/parquet/make.py
"""
from pathlib import Path
import pyarrow as pa
import pyarrow.parquet as pq

here = Path(__file__).parent
ids = pa.list_(pa.int64())
dialogue = lambda answer: [[{"role": "user", "content": "hi"}, {"role": "assistant", "content": answer}]] * 3
tables = {
    "text.snappy": pa.table({"prompt": ["pé:", "q:"], "chosen": ["ab", "c"], "rejected": ["d", "ef"]}),
    "messages.zstd": pa.table({"chosen": dialogue("yes"), "rejected": dialogue("no")}),
    "ids.gzip": pa.table({"prompt_ids": pa.array([[1, 7], [1]], ids), "chosen_ids": pa.array([[9], [8]], ids), "rejected_ids": pa.array([[8, 3], [4]], ids)}),
}
for name, table in tables.items():
    pq.write_table(table, here / f"{name}.parquet", compression=name.split(".")[1], row_group_size=2, store_schema=False, write_statistics=False)
