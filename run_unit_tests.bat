@echo off
rem Runs the unit tests:  run_unit_tests.bat [-v] [file]
rem Without a file, pytest runs the folder set in pyproject.toml: tests\unit.
setlocal
pushd "%~dp0"
set "PYTHON=python"
if exist ".venv\Scripts\python.exe" set "PYTHON=.venv\Scripts\python.exe"
"%PYTHON%" -c "import pytest" 2>nul
if errorlevel 1 goto missing
"%PYTHON%" -m pytest %*
set "CODE=%ERRORLEVEL%"
goto end
:missing
echo pytest is not installed: python -m venv .venv, then .venv\Scripts\pip install -r requirements.txt
set "CODE=1"
:end
popd
exit /b %CODE%
