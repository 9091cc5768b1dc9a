"""What conftest.py promises to every test holds."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading

import pytest


@pytest.mark.parametrize("address", [("192.0.2.1", 80), ("example.com", 443)])
def test_nothing_outside_this_machine_can_be_reached(address):
    with pytest.raises(ConnectionError, match="mark it `network`"):
        socket.create_connection(address, timeout=1)
    with socket.socket() as connection, pytest.raises(ConnectionError):
        connection.connect_ex(address)


def test_a_server_on_this_machine_can_be_reached():
    with socket.create_server(("127.0.0.1", 0)) as server:
        answer = threading.Thread(target=lambda: server.accept()[0].close())
        answer.start()
        socket.create_connection(server.getsockname(), timeout=5).close()
        answer.join()


def test_no_setting_and_no_model_of_the_person_who_runs_the_tests_is_seen():
    seen = {name for name in os.environ if name.startswith("HIGGS_")}
    assert seen <= {"HIGGS_PARITY_DIR"}
    assert os.environ["HF_HUB_OFFLINE"] == "1"
    assert "higgs-tests-" in os.environ["HF_HOME"]


def test_a_program_that_a_test_starts_sees_the_package():
    subprocess.run([sys.executable, "-c", "import faster_higgs.errors"], check=True)
