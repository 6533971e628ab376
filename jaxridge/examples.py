"""An example table: the diabetes data that scikit-learn ships, in their own units.

442 patients, ten measurements each, and a measure of the disease's progression after a
year (Efron, Hastie, Johnstone and Tibshirani 2004, Least angle regression).
"""

import numpy as np
import pyarrow as pa
from sklearn.datasets import load_diabetes

DIABETES_TARGET = "progression"


def diabetes() -> pa.Table:
    """Return the diabetes data as a table, the target in its last column."""
    data = load_diabetes(scaled=False)
    values = np.column_stack([data.data, data.target])
    return pa.table(list(values.T), names=[*data.feature_names, DIABETES_TARGET])
