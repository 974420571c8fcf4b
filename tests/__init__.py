import os

# Ray gives its own dashboard a minute to start, and fails otherwise: too little where tests run beside each other. Read
# when Ray is imported, here and in the jobs that tests start.
os.environ.setdefault("RAY_DASHBOARD_STARTUP_TIMEOUT_S", "300")
